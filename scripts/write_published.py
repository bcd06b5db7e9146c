# SPDX-License-Identifier: Apache-2.0
"""Write the package's published figures and their sources from the shared table.

`python scripts/write_published.py SHARED_CSV` writes avkit/leaderboard/data/published.csv and sources.csv; with
`--check` it exits with 1 where a file is not current. Facts are taken over as they are printed. What follows from the
figures themselves, such as a release or a contradiction, is left out: `avkit.leaderboard.arithmetic` finds it.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path

from published_sources import BEGINNINGS, NOTES, SOURCES

from avkit.files import write_file
from avkit.leaderboard.published import DATA, PublishedValue, Source

#: Beginnings of notes that say what arithmetic finds, or what the package has elsewhere.
_FOUND_BY_ARITHMETIC = (
    "test size 9,185",
    "cannot be:",
    "visual to 74.64",
    "all to 75.94",
    "types pool",
    "averages are means",
    "averages look like means",
    "read the paper before use",
    "differs from TSPM",
    "MEASURED",
    "Table V of the same",
    "Table VI of the same",
    "segment/Type 58.9 is not",
    "not the mean of",
    "PG-Video-LLaVA's is",
    "claimed and never reproduced",
    "disputed",
    "all four figures equal",
    "Audio equals",
    "weights published",
    "no weights",
    "its README gives",
    "its paper:",
    "KEVA's README quotes",
    "AV-Unified gives",
    "Stepping-Stones quotes",
    "MM-Pyramid's own",
    "text says 1.12 points",
    "it is 0.92",
    "METEOR falls",
    "f-Lifescene row of AVIS",
    "not a number",
)
#: What tells rows of one method in one table apart.
_APART = ("task", "split", "setting", "features")
#: Terms that hold for one method of a table alone, and how its name begins.
_TERMS_OF_ONE = {
    "AV-Unified jointly trained": ("AV-Unified", "jointly trained"),
    "AV-Unified trained jointly on five tasks": ("AV-Unified", "jointly trained"),
    "Top-k 8, tokens 14 (TSPM)": ("TSPM", "top-k 8, 14 tokens"),
}
#: Terms that are the release, or that the kind of the row says.
_TERMS_ELSEWHERE = ("7:1:2 by video id", "rows stack")
#: Split and release of the shared table's splits; others are both.
_SPLITS = {
    "test (by question)": ("test", ""),
    "test (by video)": ("test", "by-video"),
    "test, biased": ("test", "biased"),
    "test, balanced": ("test", "balanced"),
    "test (average of two)": ("average of two tests", ""),
}


def read_shared(path: Path) -> list[PublishedValue]:
    """The shared table's values in the package's form."""
    with path.open(encoding="utf-8", newline="") as file:
        values = [_convert(line) for line in csv.DictReader(file)]
    return _with_unique_rows(values)


def _convert(line: dict[str, str]) -> PublishedValue:
    split, release = _SPLITS.get(line["split"], (line["split"], ""))
    source, table, note = _source(line["source"])
    table = line["table"] or table
    return PublishedValue(
        row="/".join(_slug(part) for part in (source, table, line["dataset"], release, line["method"]) if part),
        task=line["task"],
        dataset=line["dataset"],
        release=release,
        split=split,
        setting=_setting(line["setting"], line["method"]),
        metric=line["metric"],
        method=line["method"],
        printed=line["value"],
        scale=line["scale"],
        year=line["year"],
        features=line["features"],
        kind="ablation" if " w/o" in line["method"] and line["kind"] == "comparison" else line["kind"],
        source=source,
        table=table,
        reported_by=line["reported_by"],
        confidence=line["confidence"],
        note="; ".join(_notes(line["note"], note)),
    )


def _source(text: str) -> tuple[str, str, str]:
    """Source, table and note of a source's text."""
    for beginning, source, table in BEGINNINGS:
        if text.startswith(beginning):
            notes = [note for start, note in NOTES.items() if text.startswith(start)]
            return source, table, "; ".join(notes)
    raise SystemExit(f"{text!r} names no source of scripts/published_sources.py. Add it there.")


def _setting(text: str, method: str) -> str:
    """The terms that hold for a method."""
    terms = []
    for term in filter(None, text.split("; ")):
        if term in _TERMS_OF_ONE:
            name, short = _TERMS_OF_ONE[term]
            terms += [short] if method.startswith(name) else []
        elif term not in _TERMS_ELSEWHERE:
            terms.append(term)
    return "; ".join(terms)


def _notes(text: str, further: str) -> Iterable[str]:
    parts = re.split(r"; (?![^(]*\))", text) if text else []
    for part in parts:
        if part == "AVSegFormer":
            yield f"short for {part}"
        elif not part.startswith(_FOUND_BY_ARITHMETIC):
            yield part.removesuffix(": disputed")
    if further:
        yield further


def _with_unique_rows(values: Sequence[PublishedValue]) -> list[PublishedValue]:
    """Values whose `row` names one printed row each, by whatever tells rows of one method in one table apart."""
    groups: dict[str, list[PublishedValue]] = {}
    for value in values:
        groups.setdefault(value.row, []).append(value)
    parts = {}
    for row, group in groups.items():
        parts[row] = [name for name in _APART if len({vars(value)[name] for value in group}) > 1]
    named = []
    for value in values:
        further = [_slug(vars(value)[name]) for name in parts[value.row]]
        named.append(replace(value, row="/".join([value.row, *further])))
    return named


def _slug(text: str) -> str:
    """Lower-case words joined by hyphens; `+`, `.` and `=` are kept."""
    return re.sub(r"[^a-z0-9+.=@]+", "-", text.lower()).strip("-.")


def csv_text(kind: type[PublishedValue] | type[Source], records: Sequence[PublishedValue] | Sequence[Source]) -> str:
    """Records as CSV, with their attributes as columns."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([field.name for field in fields(kind)])
    writer.writerows(astuple(record) for record in records)
    return file.getvalue()


def main() -> int:
    """Write the files, or with --check say which are not current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, help="the shared table of published values")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    texts = {
        DATA / "published.csv": csv_text(PublishedValue, read_shared(options.shared)),
        DATA / "sources.csv": csv_text(Source, SOURCES),
    }
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        if not options.check:
            write_file(path, texts[path])
        print(f"{path.name} {'is not current' if options.check else 'written'}")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
