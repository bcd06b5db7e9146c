# SPDX-License-Identifier: Apache-2.0
"""Feature extraction: media through encoders into feature stores, on one machine or many."""
