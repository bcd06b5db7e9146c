# SPDX-License-Identifier: Apache-2.0
"""PSP: positive sample propagation for event localization."""
