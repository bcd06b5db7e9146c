# SPDX-License-Identifier: Apache-2.0
"""Text and numbers in LaTeX."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
}


def latex_number(text: str) -> str:
    """A number with the minus sign of mathematics."""
    return text.replace("\N{MINUS SIGN}", "$-$")


def latex_escape(text: str) -> str:
    """A name as LaTeX shows it literally, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in text).replace("\n", " ")
