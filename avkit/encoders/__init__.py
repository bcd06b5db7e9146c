# SPDX-License-Identifier: Apache-2.0
"""Encoders of images, videos, waveforms and sentences, built by name; an encoder's library is imported when built.

An encoder from outside avkit is named `package.module:Class`.
"""

from avkit.encoders.facts import list_encoders
from avkit.encoders.registry import (
    build_audio_encoder,
    build_text_encoder,
    build_video_encoder,
    build_visual_encoder,
    build_window_encoder,
)

__all__ = [
    "build_audio_encoder",
    "build_text_encoder",
    "build_video_encoder",
    "build_visual_encoder",
    "build_window_encoder",
    "list_encoders",
]
