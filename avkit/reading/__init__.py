# SPDX-License-Identifier: Apache-2.0
"""The boundary where files from others are read: whatever a library raises becomes one `FileError`."""
