# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what lies where."""

import json
import tempfile
from pathlib import Path
from typing import Any

from avkit.errors import RunError


class RunFolder:
    """Paths of a run.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.facts = self.path / "run.json"
        self.history = self.path / "history.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: If it cannot be made or written to.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as e:
            raise RunError(
                f"The run folder {self.path} is not writable: {e.strerror or e}. Choose another with "
                "--out FOLDER or --name NAME."
            ) from e

    @property
    def weights(self) -> Path:
        """The best weights, or the last where no validation has run.

        Raises:
            RunError: If there are none.
        """
        for checkpoint in (self.best, self.last):
            path = checkpoint.with_suffix(".safetensors")
            if path.exists():
                return path
        known = "it does not exist" if not self.path.exists() else "it has no checkpoints/best.safetensors"
        raise RunError(
            f"{self.path} is not the folder of a trained run: {known}. Train one with 'avkit fit', or name its folder."
        )

    def read_facts(self) -> dict[str, Any]:
        """What `fit` wrote about the run: tasks, vocabulary, versions, seed.

        Raises:
            RunError: If the folder has no such file.
        """
        if not self.facts.exists():
            raise RunError(
                f"{self.path} is not a run folder: {self.facts.name} is missing. Name a folder that 'avkit "
                "fit' made, such as runs/NAME."
            )
        facts: dict[str, Any] = json.loads(self.facts.read_text(encoding="utf-8"))
        return facts


def new_run(out: Path, name: str) -> RunFolder:
    """A folder under `out` called `name`, or `name-2` and so on where that is taken."""
    taken = {p.name for p in out.iterdir()} if out.is_dir() else set()
    number = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
    return RunFolder(out / _numbered(name, number))


def newest_run(out: Path, name: str) -> RunFolder:
    """The run called `name`, `name-2` ... under `out` whose last checkpoint is youngest.

    Raises:
        RunError: If there is none.
    """
    folders = [p for p in out.glob(f"{name}*") if p.name == name or p.name.removeprefix(f"{name}-").isdigit()]
    found = [run for run in map(RunFolder, folders) if run.last.exists()]
    if not found:
        raise RunError(
            f"No run called {name!r} under {out} has checkpoints/last.ckpt to resume from. Start without "
            "--ckpt_path, or name the run with --name."
        )
    return max(found, key=lambda run: run.last.stat().st_mtime)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
