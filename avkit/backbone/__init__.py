# SPDX-License-Identifier: Apache-2.0
"""What all heads share: temporal windows, spatial perception, the gate of the prompt."""
