# SPDX-License-Identifier: Apache-2.0
"""The versions and the commit that results depend on."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from avkit import __version__

#: Packages whose versions results depend on.
_PACKAGES = ("torch", "lightning", "torchmetrics", "timm", "open_clip_torch", "av", "numpy", "pycocoevalcap")


def versions() -> dict[str, str]:
    """Versions of avkit, Python and the packages that results depend on."""
    names = {"avkit": __version__, "python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            names[package] = version(package)
        except PackageNotFoundError:
            names[package] = "not installed"
    return names


def versions_in_common() -> str:
    """The versions that processes which train together must share."""
    own = versions()
    names = ("avkit", "lightning", "torch")
    python = own["python"].rpartition(".")[0]
    return ", ".join([*(f"{name} {own[name]}" for name in names), f"Python {python}"])


def commit() -> str:
    """The commit of avkit's checkout, with `-dirty` after it if files were changed; empty outside of a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
