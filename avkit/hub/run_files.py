# SPDX-License-Identifier: Apache-2.0
"""The files of a run that others need to use it."""

import shutil
from pathlib import Path

from avkit.errors import RunError
from avkit.files import atomic, write_file
from avkit.hub.card import model_card
from avkit.training.run_folder import RunFolder

#: Files of a handed-on run beside its weights; the first two are needed.
NEEDED = ("config.yaml", "run.json")
#: Its weights, which are those of the best validation, or of the last step where none has run.
WEIGHTS = "checkpoints/best.safetensors"
#: Its report, where it was tested.
REPORT = "report.json"
#: All that is read of a repository.
PATTERNS = (*NEEDED, WEIGHTS, REPORT, "README.md", "encoders/*/*")


def check_run_files(folder: Path, source: str) -> RunFolder:
    """The run in a folder that came from somewhere else.

    Args:
        folder: The folder.
        source: What it is called, for errors.

    Raises:
        RunError: If a file is missing.
    """
    missing = [name for name in (*NEEDED, WEIGHTS) if not (folder / name).exists()]
    if missing:
        raise RunError(
            f"{source} is no run that avkit wrote: {', '.join(missing)} is missing. Ask its owner to push the run "
            "again with 'avkit push'."
        )
    return RunFolder(folder)


def save_run(run: RunFolder, folder: Path, name: str = "") -> list[Path]:
    """Write what others need of a run: config, facts, the best weights, the report, and a model card.

    Args:
        run: The run.
        folder: A new folder, or an empty one.
        name: `owner/name` under which it will be found, for the card; the folder where empty.

    Returns:
        The files.

    Raises:
        RunError: If the run is not whole, or the folder has files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists and is not empty. Name a new folder.")
    run.read_facts()
    sources = {WEIGHTS: run.weights, **{part: run.path / part for part in NEEDED}}
    for path in sources.values():
        if not path.exists():
            raise RunError(f"{run.path} is not a whole run folder: {path.name} is missing. Copy it again, as a whole.")
    if (run.path / REPORT).exists():
        sources[REPORT] = run.path / REPORT
    for path in sorted(run.encoders.glob("*/*")):
        sources[path.relative_to(run.path).as_posix()] = path
    card = model_card(run, name or str(folder))
    written = []
    for part, source in sources.items():
        with atomic(folder / part) as temporary:
            shutil.copyfile(source, temporary)
        written.append(folder / part)
    return [*written, write_file(folder / "README.md", card)]
