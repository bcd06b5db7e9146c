# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: which files it holds, and where.

Every command asks whether a word names a run, so this is imported without torch.
"""

import tempfile
from pathlib import Path
from typing import Any, TypedDict, cast

from avkit.errors import AvkitError, RunError
from avkit.reading.text import read_json

#: Version of the run folder; 1 is that of runs whose `run.json` names none.
FORMAT = 2


class AddedFacts(TypedDict, total=False):
    """What `run.json` holds too, unless an earlier avkit wrote it.

    Attributes:
        weights: Where the weights of encoders and other loaded parts come from, each a record of
            `avkit.systems.encoder_weights.WeightsFacts`.
        domains: What each task was trained on: `scenes`, `official` or `own`, see `avkit.training.domain`.
        stored: By task, the stored features that it reads, see `avkit.training.stored_facts`.
        recipe: The config files that the command named, in order, each with `name` and `sha256`.
        hops: By task, the seconds per step of pictures and sound, one for each of its datasets.
    """

    weights: list[dict[str, Any]]
    domains: dict[str, str]
    stored: dict[str, dict[str, list[dict[str, Any]]]]
    recipe: list[dict[str, str]]
    hops: dict[str, list[float]]


class RunFacts(AddedFacts):
    """What `run.json` holds.

    Attributes:
        format: `FORMAT`.
        command: Words of the command that made the run.
        tasks: Task names.
        vocabulary: The fields of the run's `Vocabulary`.
        dataset: Names of the datasets, joined by `+`.
        features: Widths of stored visual and audio features by task, 0 for pictures and sound.
        expert: Width of the features of a large vision-language model; None if there are none.
        image_size: Height and width of pictures in pixels.
        splits: How splits were made that a dataset does not state, see `avkit.datasets.splits.SplitFacts`, by its name.
        seed: Seed of the run.
        commit: Commit of avkit's checkout; empty outside of one.
        versions: Versions of avkit, Python and libraries.
    """

    format: int
    command: list[str]
    tasks: list[str]
    vocabulary: dict[str, Any]
    dataset: str
    features: dict[str, list[int]]
    expert: int | None
    image_size: int
    splits: dict[str, dict[str, Any]]
    seed: int | bool
    commit: str
    versions: dict[str, str]


class RunFolder:
    """Paths of a run's files.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.facts = self.path / "run.json"
        #: What encoders need beside their weights, see `avkit.encoders.settings`.
        self.encoders = self.path / "encoders"
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
            raise _not_writable(self.path, str(e.strerror or e)) from e

    @property
    def weights(self) -> Path:
        """The best weights, or the last weights if no validation has run.

        Raises:
            RunError: If there are none.
        """
        from avkit.training.weights_file import current_weights

        for checkpoint in (self.best, self.last):
            if checkpoint.exists() or checkpoint.with_suffix(".safetensors").exists():
                return current_weights(checkpoint)
        problem = "it has no checkpoints/best.safetensors" if self.path.exists() else "it does not exist"
        raise RunError(
            f"{self.path} is not the folder of a trained run: {problem}. Train one with 'avkit fit', or name its "
            "folder."
        )

    def checkpoint_files(self) -> list[Path]:
        """All checkpoints, the newest first."""
        files = [path for path in self.checkpoints.glob("*.ckpt") if not path.name.startswith(".")]
        return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)

    def whole_checkpoint(self, wanted: Path) -> tuple[Path, str]:
        """A checkpoint to go on from: `wanted`, or the newest other one of this run where that is damaged.

        Returns:
            The checkpoint, and what is wrong with the wanted one, empty if nothing.

        Raises:
            RunError: If none is whole.
        """
        from avkit.training.weights_file import damage

        problem = damage(wanted)
        if not problem:
            return wanted, ""
        for path in self.checkpoint_files():
            if path != wanted and not damage(path):
                return path, problem
        raise RunError(
            f"{problem} {self.path} has no other whole checkpoint to resume from. Start again without --ckpt_path."
        )

    def read_facts(self) -> RunFacts:
        """What `fit` wrote about the run.

        Raises:
            RunError: If the folder has no `run.json`, or another version of avkit wrote it.
        """
        if not self.facts.exists():
            raise RunError(
                f"{self.path} is not a run folder: {self.facts.name} is missing. Name a folder that 'avkit "
                "fit' made, such as runs/NAME."
            )
        try:
            facts = read_json(self.facts)
        except AvkitError as e:
            raise RunError(f"{e} Copy the run folder again, as a whole, or name another run.") from e
        if not isinstance(facts, dict):
            raise RunError(
                f"{self.facts} is not what 'avkit fit' writes. Copy the run folder again, or name another run."
            )
        self._check_format(facts)
        return cast(RunFacts, facts)

    def _check_format(self, facts: dict[str, Any]) -> None:
        written = facts.get("format", 1)
        if written == FORMAT:
            return
        commit = facts.get("commit")
        writer = f"avkit at commit {commit}" if commit else "the version of avkit that wrote it"
        raise RunError(
            f"{self.path} is a run folder of format {written}, and this version of avkit reads format {FORMAT}. Train "
            f"it again, or use {writer}."
        )


def new_run(out: Path, name: str) -> RunFolder:
    """A new folder under `out`: `name`, or `name-2`, `name-3` and so on; no two processes get the same.

    Raises:
        RunError: If it cannot be made.
    """
    path = out / name
    number = 1
    while not _claim(path):
        number += 1
        path = out / f"{name}-{number}"
    return RunFolder(path)


def _claim(path: Path) -> bool:
    """Make a folder; False if it exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise _not_writable(path, "its parent is a file") from None
    except OSError as e:
        raise _not_writable(path, str(e.strerror or e)) from e
    return True


def _not_writable(path: Path, reason: str) -> RunError:
    return RunError(
        f"The run folder {path} is not writable: {reason}. Choose another with --out FOLDER or --name NAME."
    )


def newest_run(out: Path, name: str) -> RunFolder:
    """The run called `name`, `name-2` ... under `out` whose last checkpoint is the newest.

    Raises:
        RunError: If there is none.
    """
    runs = []
    for path in out.glob(f"{name}*"):
        run = RunFolder(path)
        numbered = path.name.removeprefix(f"{name}-").isdigit()
        if (path.name == name or numbered) and run.checkpoint_files():
            runs.append(run)
    if not runs:
        raise RunError(
            f"No run called {name!r} under {out} has checkpoints/last.ckpt to resume from. Start without "
            "--ckpt_path, or name the run with --name."
        )
    return max(runs, key=lambda run: run.checkpoint_files()[0].stat().st_mtime)
