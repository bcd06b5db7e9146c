# SPDX-License-Identifier: Apache-2.0
"""HAN: hybrid attention network for weakly supervised video parsing."""
