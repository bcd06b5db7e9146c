# SPDX-License-Identifier: Apache-2.0
"""MM-Pyramid: multimodal pyramid attention for video parsing."""
