# SPDX-License-Identifier: Apache-2.0
"""`avkit check --statistics` and `--agreement`: figures of annotations, printed and drawn."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avkit.errors import DataError, count_of

if TYPE_CHECKING:
    from avkit.annotation.agreement import Agreement
    from avkit.datasets.clips import ClipDataset
    from avkit.datasets.statistics import DatasetStatistics

#: Types and clips that are printed.
_SHOWN = 10


def statistics_of(options: argparse.Namespace, on_clip: Callable[[], None]) -> "DatasetStatistics":
    """Figures of the dataset that a check names; drawn where `--plots` names a picture.

    Raises:
        DataError: If no split can be opened.
        ValueError: If it is no dataset of clips.
    """
    from avkit.datasets.statistics import dataset_statistics
    from avkit.datasets.statistics_plot import write_plot

    statistics = dataset_statistics(_open_splits(options), on_clip)
    if options.plots is not None:
        write_plot(statistics, options.plots)
    return statistics


def _open_splits(options: argparse.Namespace) -> "Mapping[str, ClipDataset]":
    from avkit.datasets import DatasetOptions, find_dataset
    from avkit.datasets.clips import ClipDataset
    from avkit.datasets.manifest_schema import SPLITS
    from avkit.datasets.official import Official
    from avkit.datasets.splits import SplitOptions

    kind = find_dataset(options.dataset)
    if not issubclass(kind, ClipDataset):
        raise ValueError(f"{options.dataset!r} has no annotated clips, so there is nothing to count.")
    names = kind.splits if issubclass(kind, Official) else SPLITS
    settings = DatasetOptions(
        root=options.root,
        manifest=options.manifest,
        release=options.release,
        hop=options.hop,
        silent_ok=options.silent_ok,
        allow_missing=options.allow_missing,
        splits=SplitOptions(allow_shared=options.allow_shared),
    )
    readers: dict[str, ClipDataset] = {}
    reason: DataError | None = None
    for split in names:
        try:
            reader = kind.open(split, settings)
        except DataError as error:
            reason = error
            continue
        assert isinstance(reader, ClipDataset)
        readers[split] = reader
    if not readers:
        assert reason is not None
        raise reason
    return readers


def show_statistics(statistics: "DatasetStatistics", plots: Path | None) -> None:
    """Print the figures."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    figures = statistics.as_dict()
    table = Table(box=None, pad_edge=False)
    table.add_column("statistics")
    for name in ("mean", "median", "min", "max"):
        table.add_column(name, justify="right")
    for name, key in (
        ("seconds of a clip", "seconds"),
        ("words of a sentence", "words"),
        ("area of a source", "areas"),
    ):
        values: Mapping[str, float] = figures[key]
        table.add_row(name, *(_number(values.get(column), key) for column in ("mean", "median", "min", "max")))
    console = Console()
    console.print(table)
    clips = sum(figures["clips"].values())
    lines = [
        f"{count_of(clips, 'clip')}, {figures['hours']:.2f} hours, {count_of(len(figures['types']), 'type')}",
        f"{count_of(figures['sentences'], 'sentence')} of {figures['vocabulary']} different words",
        f"{count_of(figures['masks'], 'step')} with a mask, {figures['silent_masks']} of them silent",
        "clips by number of sources: " + (", ".join(f"{k}: {n}" for k, n in figures["sources"].items()) or "none"),
        "types: " + _most(figures["types"]),
    ]
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
    for fault in statistics.unread[:_SHOWN]:
        console.print(f"[yellow]not counted[/] {escape(fault)}", highlight=False, soft_wrap=True)
    if plots is not None:
        console.print(escape(f"drawn in {plots}"), highlight=False, soft_wrap=True)


def _number(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if key == "areas" else f"{value:.2f}".rstrip("0").rstrip(".")


def _most(types: Mapping[str, int]) -> str:
    named = [f"{name} {count}" for name, count in list(types.items())[:_SHOWN]]
    return ", ".join(named) + (", ..." if len(types) > _SHOWN else "") if named else "none"


def agreement_of(options: argparse.Namespace) -> "Agreement":
    """Agreement of the manifest that a check names with another one.

    Raises:
        ValueError: If it is no manifest.
    """
    from avkit.annotation.agreement import measure_agreement

    if options.manifest is None:
        raise ValueError("--agreement compares two manifests: avkit check a.jsonl --agreement b.jsonl.")
    return measure_agreement(options.manifest, options.agreement, options.hop or 1.0)


def show_agreement(agreement: "Agreement", first: Path, second: Path) -> None:
    """Print how far two manifests agree, and where they agree least."""
    from rich.console import Console
    from rich.markup import escape

    figures: dict[str, Any] = agreement.as_dict()
    lines = [f"agreement of {first} and {second} on {count_of(agreement.clips, 'clip')}"]
    for key, name, count in (
        ("mask_iou", "masks, IoU", count_of(agreement.steps, "step")),
        ("class_iou", "masks by class, IoU", count_of(len(agreement.class_iou), "clip")),
        ("span_iou", "spans, IoU in time", count_of(len(agreement.span_iou), "clip")),
    ):
        if key in figures:
            lines.append(f"  {name}: {figures[key]:.3f} ({count})")
    scores = ", ".join(f"{name} {value:.3f}" for name, value in agreement.captions.items())
    if scores:
        lines.append(f"  sentences: {scores} ({count_of(agreement.sentences, 'step')}; the first is the reference)")
    lines += [f"  {name}: {note}" for name, note in agreement.notes.items()]
    least = sorted(agreement.mask_iou.items(), key=lambda entry: entry[1])[:_SHOWN]
    if least:
        lines.append("  least alike: " + ", ".join(f"{name} {value:.2f}" for name, value in least))
    for path, names in ((first, agreement.only_first), (second, agreement.only_second)):
        if names:
            lines.append(f"  in {path} alone: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}")
    console = Console()
    for line in lines:
        console.print(escape(line), highlight=False, soft_wrap=True)
