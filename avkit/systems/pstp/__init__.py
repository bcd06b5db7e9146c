# SPDX-License-Identifier: Apache-2.0
"""PSTP-Net: progressive spatio-temporal perception for question answering."""
