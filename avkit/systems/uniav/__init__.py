# SPDX-License-Identifier: Apache-2.0
"""UniAV: events of three tasks by one network with an expert for each task and classes in words."""
