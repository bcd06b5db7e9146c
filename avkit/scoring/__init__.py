# SPDX-License-Identifier: Apache-2.0
"""Predictions without the model that made them: stored by tests, and scored again, or those of others, officially."""
