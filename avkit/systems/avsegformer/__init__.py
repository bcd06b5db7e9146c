# SPDX-License-Identifier: Apache-2.0
"""AVSegFormer: audio-visual segmentation with a transformer decoder."""
