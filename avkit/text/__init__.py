# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: words of questions and captions, and word pieces."""
