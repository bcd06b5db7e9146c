# SPDX-License-Identifier: Apache-2.0
"""Stored features: reading and writing the feature store and arrays of features."""
