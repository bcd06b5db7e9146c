# SPDX-License-Identifier: Apache-2.0
"""AV-Unified: one backbone and one head per task."""
