# SPDX-License-Identifier: Apache-2.0
"""Where commands write: folders of this machine."""

from collections.abc import Sequence
from itertools import pairwise

from avkit.reading.remote import url_of

_OUTPUTS = ("--out", "-o", "--show", "--html", "--plots", "--record", "--results", "--work")


def refuse_url_outputs(words: Sequence[str]) -> None:
    """Refuse a URL as the place of results, which would become a folder of that name here.

    Args:
        words: Words after the name of the command.

    Raises:
        ValueError: If there is one.
    """
    for option, following in pairwise([*words, ""]):
        name, has_value, own = option.partition("=")
        value = own if has_value else following
        if name in _OUTPUTS and url_of(value) is not None:
            raise ValueError(
                f"{name} is {value!r}, and results are written to a folder of this machine. Name one, and copy it to "
                "the bucket when it is whole."
            )
