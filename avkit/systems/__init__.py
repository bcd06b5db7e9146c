# SPDX-License-Identifier: Apache-2.0
"""Encoders and backbone as one paper puts them together."""
