# SPDX-License-Identifier: Apache-2.0
"""Answers without training: an audio tagger names what is heard, open-vocabulary models find it in the picture.

Source:
    Bhosale et al., Leveraging Foundation Models for Unsupervised Audio-Visual Segmentation, 2023 (arXiv 2309.06728).
"""
