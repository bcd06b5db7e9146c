# SPDX-License-Identifier: Apache-2.0
"""TPAVI: the baseline of AVSBench for audio-visual segmentation."""
