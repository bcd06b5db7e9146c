# SPDX-License-Identifier: Apache-2.0
"""TSPM: temporal-spatial perception for question answering."""
