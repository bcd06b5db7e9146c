# SPDX-License-Identifier: Apache-2.0
"""What an exception says, in one line."""

import zlib

#: Characters of a library's message that are passed on.
_MAX_REASON = 160


def reason_of(error: BaseException) -> str:
    """What an exception says, in one short line; the name of its type where it says nothing."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    if isinstance(error, RecursionError):
        text = "it is nested too deeply"
    if isinstance(error, MemoryError):
        text = text or "it asks for more memory than there is"
    if isinstance(error, zlib.error):
        text = f"damaged compressed data, {text}"
    line = " ".join(text.split())
    if len(line) > _MAX_REASON:
        line = f"{line[:_MAX_REASON]}..."
    return line or type(error).__name__
