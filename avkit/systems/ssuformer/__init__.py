# SPDX-License-Identifier: Apache-2.0
"""SSUFormer: masks and captions of sounding regions."""
