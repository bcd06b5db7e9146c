# SPDX-License-Identifier: Apache-2.0
"""Reading and writing pictures and sound; every name of daily use is in `avkit.media.decode`."""
