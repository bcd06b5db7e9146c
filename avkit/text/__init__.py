# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of questions, prompts and captions: words, and word pieces."""
