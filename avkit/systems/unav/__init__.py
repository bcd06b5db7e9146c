# SPDX-License-Identifier: Apache-2.0
"""UnAV: the baseline of UnAV-100 for dense events."""
