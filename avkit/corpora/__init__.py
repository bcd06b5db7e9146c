# SPDX-License-Identifier: Apache-2.0
"""Clips of f-Music and f-Lifescene from folders of MUSIC-AVQA and VGGSound, up to their annotation.

`videos` lists what is on disk, `plan` decides which clips are made, as a pure function of the videos and a seed, and
`clips` makes them. Masks and sentences are another step: whoever writes `masks/*.png` and `captions.jsonl` into a
clip's folder has annotated it, and the readers in `avkit.datasets.ra_ssu` read them.
"""
