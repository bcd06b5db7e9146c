# SPDX-License-Identifier: Apache-2.0
"""A local page on which a run answers about videos that are dropped there; `avkit demo`."""
