# SPDX-License-Identifier: Apache-2.0
"""AVST: spatio-temporal grounding for question answering."""
