# SPDX-License-Identifier: Apache-2.0
"""Scoring of stored predictions, ours and those of others, by the official metrics."""
