# SPDX-License-Identifier: Apache-2.0
"""What servers of local pages share."""
