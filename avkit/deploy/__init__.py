# SPDX-License-Identifier: Apache-2.0
"""A trained system as a file that runs without avkit: graphs of `torch.export`, and ONNX."""
