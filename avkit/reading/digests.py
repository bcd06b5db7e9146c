# SPDX-License-Identifier: Apache-2.0
"""Digests by which the content of a published file is recognised."""

import hashlib

_GIT_DIGITS = 40


def has_digest(content: bytes, digest: str) -> bool:
    """Whether a content has a digest: SHA-256 in 64 hexadecimal digits, or in 40 the id that git gives a content."""
    if len(digest) == _GIT_DIGITS:
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == digest
    return hashlib.sha256(content).hexdigest() == digest
