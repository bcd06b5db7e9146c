# SPDX-License-Identifier: Apache-2.0
"""TadTR: temporal action detection as the prediction of a set by a deformable transformer."""
