# SPDX-License-Identifier: Apache-2.0
"""Stored features: the store, and the way from media through encoders into it."""
