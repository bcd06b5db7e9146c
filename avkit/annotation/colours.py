# SPDX-License-Identifier: Apache-2.0
"""Colours of objects, well apart on light and dark pictures; the page has the same."""

COLOURS = ("#e6843c", "#3f9bd8", "#4fb477", "#c964b5", "#d9b72f", "#7c7ae0", "#d4504f", "#37b3b0", "#9a7b52", "#8f9aa5")


def colour_of(number: int) -> str:
    """Colour of an object by its number, from 1."""
    return COLOURS[(number - 1) % len(COLOURS)]
