# SPDX-License-Identifier: Apache-2.0
"""AVEL: audio-guided visual attention for event localization."""
