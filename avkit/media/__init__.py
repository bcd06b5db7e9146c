# SPDX-License-Identifier: Apache-2.0
"""Reading and writing video, images and audio; `avkit.media.decode` offers the functions of daily use."""
