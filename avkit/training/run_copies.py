# SPDX-License-Identifier: Apache-2.0
"""Runs by URL: their files are copied into a folder of this machine, where every command opens them."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from avkit.errors import RunError
from avkit.files import atomic
from avkit.reading.copies import local_copy
from avkit.reading.remote import list_all, url_of

#: Files that tell of a run, beside its checkpoints.
FACTS = ("config.yaml", "run.json", "history.jsonl", "report.json", "resamples.npz", "README.md", "encoders/*/*")
#: Files without which a folder is no run.
_NEEDED = ("config.yaml", "run.json")
#: The checkpoint that is used, the first one that is there.
_CHECKPOINTS = ("checkpoints/best", "checkpoints/last")


def local_run(run: Path | str, checkpoint: str = "") -> Path:
    """Folder of a run on this machine: its own, or one with copies of its files that goes when the process ends.

    Args:
        run: Folder of the run, or its URL.
        checkpoint: Of a run at a URL the ends of the files of its best checkpoint that are copied too, or of its last
            one where there is no best: `.safetensors` for weights, `.*` for all; none where empty.

    Raises:
        RunError: If there is no run at the URL, or it has no such checkpoint.
        FileError: If the place of the URL cannot be reached.
    """
    url = url_of(run)
    if url is None:
        return Path(run)
    url = url.rstrip("/")
    names = list_all(url)
    missing = [name for name in _NEEDED if name not in names]
    wanted = [name for name in names if any(fnmatchcase(name, pattern) for pattern in FACTS)]
    if checkpoint:
        files = _checkpoint_files(names, checkpoint)
        missing += [] if files else [f"{_CHECKPOINTS[0]}{'.ckpt' if checkpoint == '.*' else checkpoint}"]
        wanted += files
    if missing:
        raise RunError(
            f"{url} is no run that avkit wrote: {', '.join(missing)} is missing. Name the URL of a folder that 'avkit "
            "fit' made, copied as a whole."
        )
    folder = Path(tempfile.mkdtemp(prefix="avkit-run-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in wanted:
        with local_copy(f"{url}/{name}") as copy, atomic(folder / name) as part:
            shutil.copyfile(copy, part)
    return folder


def refuse_run_url(run: Path | str, advice: str) -> None:
    """Refuse the URL of a run where a command writes into the run's folder.

    Args:
        run: What names the run.
        advice: What to do, as a sentence.

    Raises:
        RunError: If it is a URL.
    """
    url = url_of(run)
    if url is not None:
        raise RunError(f"{url} is a URL, and nothing is written to one. {advice}")


def _checkpoint_files(names: Sequence[str], ends: str) -> list[str]:
    """Files of the best checkpoint, or of the last one; none where there are none."""
    for stem in _CHECKPOINTS:
        files = [name for name in names if fnmatchcase(name, stem + ends)]
        if files:
            return files
    return []
