# SPDX-License-Identifier: Apache-2.0
"""What turns tokens into one kind of answer; needs torch and einops alone."""
