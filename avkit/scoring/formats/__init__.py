# SPDX-License-Identifier: Apache-2.0
"""Files of predictions as other people write them, one file for each form."""
