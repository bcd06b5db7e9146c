# SPDX-License-Identifier: Apache-2.0
"""Trained runs applied to videos: prediction, streaming, an index of videos and search in it."""
