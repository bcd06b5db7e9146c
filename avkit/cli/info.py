# SPDX-License-Identifier: Apache-2.0
"""`avkit info`: available tasks, datasets, systems and encoders; versions and hardware."""

import argparse
import json
import shutil
from dataclasses import asdict

from rich.table import Table

from avkit.licences import list_licences
from avkit.report.tables import Column, make_table, open_console


def parser() -> argparse.ArgumentParser:
    """The options of `avkit info`."""
    p = argparse.ArgumentParser(prog="avkit info", description="Tasks, datasets, encoders, versions, hardware.")
    p.add_argument("--json", action="store_true", help="for scripts")
    p.add_argument("--encoders", action="store_true", help="width, hop, licence, size and training of encoders")
    p.add_argument("--licences", action="store_true", help="licences of weights, data and authors' code")
    return p


def run(args: list[str]) -> int:
    """Print tasks, datasets, encoders, versions and hardware."""
    given = parser().parse_args(args)
    if given.licences:
        return _print_licences(as_json=given.json)
    if given.encoders:
        return _print_encoders(as_json=given.json)
    facts = collect()
    if given.json:
        print(json.dumps(facts, indent=1))
        return 0
    console = open_console()
    for title, entries in facts.items():
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, text in entries.items():
            table.add_row(name, text)
        console.print(table)
    return 0


def _print_encoders(*, as_json: bool) -> int:
    """Print the encoders of all kinds."""
    from avkit.encoders.facts import COLUMNS, list_encoders
    from avkit.encoders.table import ENCODERS

    tables = {kind: list_encoders(kind) for kind in ENCODERS}
    if as_json:
        by_kind = {kind: [asdict(row) for row in rows.values()] for kind, rows in tables.items()}
        print(json.dumps(by_kind, indent=1))
        return 0
    console = open_console()
    for kind, rows in tables.items():
        table = make_table([Column(kind), *(Column(head) for head in COLUMNS[1:])])
        for row in rows.values():
            table.add_row(*row.cells)
        console.print(table)
    console.print(
        "\nBeside these: every network of timm as timm:NAME, every model of open_clip as open_clip:NAME, and classes "
        "of yours as package.module:Class.",
        highlight=False,
    )
    return 0


def _print_licences(*, as_json: bool) -> int:
    """Print the table of licences."""
    rows = list_licences()
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    console = open_console()
    for kind, title in (("weights", "published weights"), ("data", "datasets"), ("code", "authors' code")):
        table = make_table([Column(title), Column("licence"), Column("commercial use"), Column("source")])
        for row in rows:
            if row.kind == kind:
                table.add_row(row.name, row.licence, row.commercial, row.source)
        console.print(table)
    console.print("\nWhat a source states, not legal advice. With --json: notes as well.", highlight=False)
    return 0


def collect() -> dict[str, dict[str, str]]:
    """What `avkit info` prints: name and description by section."""
    import torch

    from avkit.cli.provenance import versions
    from avkit.datasets import DATASETS, find_dataset
    from avkit.encoders import list_encoders
    from avkit.encoders.table import ENCODERS
    from avkit.systems import SYSTEMS, find_config
    from avkit.tasks import TASKS, find_task

    tasks = {}
    for name in TASKS:
        task = find_task(name)
        tasks[name] = f"{_first_line(task)} Reads {', '.join(task.targets)}."
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    java = shutil.which("java") or "none: METEOR is not run, other caption scores use a plain tokeniser"
    return {
        "tasks": tasks,
        "datasets": {name: _first_line(find_dataset(name)) for name in DATASETS},
        "systems": {name: _first_line(find_config(name)) for name in SYSTEMS},
        "encoders": {kind: ", ".join(list_encoders(kind)) for kind in ENCODERS},
        "versions": versions(),
        "hardware": {"GPU": gpu, "CPU threads": str(torch.get_num_threads()), "java": java},
        "licence": {"avkit": "Apache-2.0", "weights and data": "their authors' own, see avkit info --licences"},
    }


def _first_line(described: type) -> str:
    """First line of a docstring."""
    return (described.__doc__ or "").strip().splitlines()[0]
