# SPDX-License-Identifier: Apache-2.0
"""Clips of f-Music and f-Lifescene from folders of MUSIC-AVQA and VGGSound, as far as they go without annotators.

`plan` decides what is made, as a pure function of what is on disk and a seed; `clips` makes it. Masks and sentences are
another step: whoever writes `masks/*.png` and `captions.jsonl` into a clip's folder has annotated it, and the readers
in `avkit.datasets.ra_ssu` take what is there.
"""
