# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL: sound source localization by multiple-instance contrast."""
