# SPDX-License-Identifier: Apache-2.0
"""`avkit pull owner/name`: a run from the Hugging Face hub as a folder here."""

import argparse
import shutil
from pathlib import Path

from avkit.cli.trust import add_switches


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit pull",
        description="Download a run that 'avkit push' uploaded. Started again after a stop, it goes on where it was.",
    )
    p.add_argument("repository", metavar="owner/name", help="repository on the hub")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="a new folder (default: runs/NAME)")
    p.add_argument("--revision", help="branch, tag or commit; the main branch by default")
    add_switches(p, trust=False)
    return p


def run(args: list[str]) -> int:
    """Download into the cache, check, and copy to its place at once."""
    options = parser().parse_args(args)
    from avkit.errors import RunError
    from avkit.files import temporary_folder
    from avkit.hub.run_files import PATTERNS, check_run_files
    from avkit.reading.repository import fetch_repository

    out = options.out or Path("runs") / options.repository.rpartition("/")[2]
    if out.exists():
        raise RunError(f"{out} exists. Choose a new folder with --out FOLDER.")
    cached = fetch_repository(options.repository, PATTERNS, options.revision)
    check_run_files(cached, options.repository).read_facts()
    part = temporary_folder(out)
    try:
        for name in PATTERNS:
            if (cached / name).exists():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cached / name, part / name)
        part.chmod(0o755)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{out}\nask it: avkit predict {out} clip.mp4")
    return 0
