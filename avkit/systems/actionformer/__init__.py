# SPDX-License-Identifier: Apache-2.0
"""ActionFormer: moments of actions by local self-attention on a temporal pyramid."""
