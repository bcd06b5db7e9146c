# SPDX-License-Identifier: Apache-2.0
"""`avkit push RUN owner/name`: a run with a model card on the Hugging Face hub."""

import argparse
import tempfile
from pathlib import Path

from avkit.cli.trust import add_switches


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit push",
        description="Upload config, facts, best weights and report of a run, with a model card that is made of them. "
        "Without --yes it shows what would be uploaded.",
    )
    p.add_argument("run", help="folder of a run, or its URL")
    p.add_argument("repository", metavar="owner/name", help="repository on the hub")
    p.add_argument("--yes", action="store_true", help="upload; otherwise nothing leaves this machine")
    p.add_argument("--create", action="store_true", help="make the repository where there is none")
    p.add_argument("--private", action="store_true", help="make it private; with --create")
    add_switches(p, trust=False)
    return p


def run(args: list[str]) -> int:
    """Show, or upload."""
    options = parser().parse_args(args)
    from avkit.hub.push import need_token, upload
    from avkit.hub.run_files import save_run
    from avkit.reading.hub import hugging_face
    from avkit.reading.repository import check_repository
    from avkit.training.run_copies import local_run
    from avkit.training.run_folder import RunFolder

    if options.private and not options.create:
        raise ValueError("--private is of a repository that is made. Add --create, or leave it out.")
    check_repository(options.repository)
    if options.yes:
        need_token()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        files = save_run(RunFolder(local_run(options.run, ".safetensors")), folder, options.repository)
        for path in files:
            print(f"{path.stat().st_size / 1e6:9.3f} MB  {path.relative_to(folder)}")
        if not options.yes:
            print(f"\n{(folder / 'README.md').read_text(encoding='utf-8')}")
            print(f"Nothing was uploaded. Upload it to {hugging_face(options.repository)} with --yes.")
            return 0
        message = f"Upload run {Path(options.run).name}"
        address = upload(folder, options.repository, create=options.create, private=options.private, message=message)
    print(f'{address}\nload it: avkit.load("{options.repository}")')
    return 0
