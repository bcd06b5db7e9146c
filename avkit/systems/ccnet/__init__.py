# SPDX-License-Identifier: Apache-2.0
"""CCNet: cross-modal consistency and temporal granularity collaboration for dense events."""
