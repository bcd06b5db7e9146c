# SPDX-License-Identifier: Apache-2.0
"""What an encoder needs beside its weights, kept with a run: sizes that its name does not tell, and words.

A run's weights hold tensors alone. An encoder that is built again without a weight file, for them to be loaded, takes
its settings from the run's folder.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_ROOT: ContextVar[Path | None] = ContextVar("folder of settings", default=None)


@contextmanager
def stored_settings(root: Path) -> Iterator[None]:
    """Have encoders that are built without a weight file within the block take their settings from a folder.

    Args:
        root: Folder that holds a folder for each encoder; it need not exist.
    """
    token = _ROOT.set(root)
    try:
        yield
    finally:
        _ROOT.reset(token)


def settings_folder(root: Path, kind: str, name: str) -> Path:
    """The folder of an encoder.

    Args:
        root: Folder of all settings.
        kind: Kind of the encoder.
        name: Its name.
    """
    return root / re.sub(r"[^\w.-]", "_", f"{kind}-{name}")


def find_settings(kind: str, name: str) -> Path | None:
    """The stored settings of an encoder; None where there are none, or none are wanted."""
    root = _ROOT.get()
    if root is None:
        return None
    folder = settings_folder(root, kind, name)
    return folder if folder.is_dir() else None
