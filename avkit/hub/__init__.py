# SPDX-License-Identifier: Apache-2.0
"""Runs handed on: a folder or repository with weights, config and a model card, and no code."""
