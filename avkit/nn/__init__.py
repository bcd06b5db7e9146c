# SPDX-License-Identifier: Apache-2.0
"""Layers and losses that two or more papers use; needs torch and einops alone."""
