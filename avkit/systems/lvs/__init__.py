# SPDX-License-Identifier: Apache-2.0
"""LVS: sound source localization by hard-way contrast."""
