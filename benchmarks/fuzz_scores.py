# SPDX-License-Identifier: Apache-2.0
"""Files of predictions in all forms that `avkit score` reads, on scenes in official layouts, for `fuzz.py`."""

import contextlib
import csv
import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from avkit.errors import DataError
from avkit.scoring.formats import detect_format
from avkit.scoring.formats.answers import Answers
from avkit.scoring.truth import Truth, TruthOptions, open_truth
from avkit.tasks.stored import RecordError

#: Side of pictures in pixels.
SIDE = 32
#: Layouts of `avkit export` with the dataset and the task that are scored.
LAYOUTS = {
    "music-avqa": ("music-avqa", "avqa"),
    "avqa": ("avqa", "avqa"),
    "ave": ("ave", "ave"),
    "llp": ("llp", "avvp"),
    "unav100": ("unav100", "davel"),
    "vggss": ("vggss", "ssl"),
    "avsbench-s4": ("avsbench-s4", "avs"),
    "avsbench-avss": ("avsbench-avss", "avs"),
    "ra-ssu": ("f-music", "ra_ssu"),
    "ref-avs": ("ref-avs", "avs"),
}
#: What reads a file: its kind, its path, the path that is scored, and whether it carries a checksum.
Made = tuple[str, Path, Callable[[], str], bool]


def score_files(folder: Path) -> Iterator[Made]:
    """Write a file, or a folder of files, in each form; yields its kind, a file of it, and what scores it."""
    for layout, (dataset, task) in LAYOUTS.items():
        root = folder / f"scored-{layout}"
        if not root.exists():
            _export(layout, root)
        options = TruthOptions(root=root, image_size=SIDE)
        truth = open_truth(task, dataset, options)
        out = folder / f"predictions-{layout}"
        out.mkdir(exist_ok=True)
        yield from _own_lines(truth, dataset, out, options)
        for kind, file, given in _FORMS[task](truth, out):
            yield f"predictions, {kind}", file, _scorer(given, dataset, task, options), False
    yield _record(folder)


def _export(layout: str, root: Path) -> None:
    from avkit.export import export

    clips = {"train": 1, "val": 1, "test": 2}
    export(layout, root, clips, SIDE, 4.0, features=False)


def _scorer(path: Path, dataset: str, task: str, options: TruthOptions) -> Callable[[], str]:
    """Scores a file; METEOR, a program of its own, is left out of what is said of its captions."""
    from avkit.scoring.scorer import score

    def read_alone() -> str:
        truth = open_truth(task, dataset, options)
        form = detect_format(path, truth)
        truth = truth.with_options(form.task_options(truth))
        records = [line for line in form.read(path, truth) if not isinstance(line, DataError)]
        for record in records:
            name = record.values.get("id")
            if name in truth.ids:
                with contextlib.suppress(RecordError):  # a fault of the sample
                    truth.task.prediction([record.values], truth.batch([str(name)]))
        return repr(len(records))

    def score_all() -> str:
        result = score(path, dataset, task, options=options)
        for fault in result.faults:
            assert "\n" not in fault, fault
        return repr({name: row.value for name, row in result.rows.items()})

    return read_alone if task == "ra_ssu" else score_all


def _own_lines(truth: Truth, dataset: str, out: Path, options: TruthOptions) -> Iterator[Made]:
    """`predictions.jsonl` as `avkit test` writes it."""
    path = out / "predictions.jsonl"
    lines = []
    for number, name in enumerate(truth.ids):
        (record,) = truth.task.absent(truth.batch([name])) or [_heat(name)]
        if truth.task.name == "avqa":
            record = {"id": name, "answer": "yes"}
        lines.append(json.dumps({"task": truth.task.name, "dataset": dataset, "batch": number, **record}))
    path.write_text("\n".join(lines))
    yield "predictions, avkit", path, _scorer(path, dataset, truth.task.name, options), False


def _heat(name: str) -> dict[str, object]:
    from avkit.answers.encoding import encode_array

    return {"id": name, "steps": [0], "heat": encode_array(np.eye(8, dtype=np.float32)[None])}


def _answers(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    given = {name: "yes" for name in truth.ids}
    (out / "object.json").write_text(json.dumps(given))
    (out / "numbers.json").write_text(json.dumps([{"question_id": name, "answer": 1} for name in given]))
    lines = [json.dumps({"id": name, "answer": answer}) for name, answer in given.items()]
    (out / "lines.jsonl").write_text("\n".join(lines))
    (out / "lines.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("object.json", "numbers.json", "lines.jsonl", "lines.jsonl.gz"):
        yield "answers", out / name, out / name
    if "choices" not in truth.fields:
        path = out / "tspm.txt"
        answers = Answers(truth)
        lines = []
        for name in truth.ids:
            true = truth.dataset.annotations[truth.place(name)].questions[0].answer
            number = next(k for k in range(42) if answers.numbered(k, name, "") == true)
            lines.append(f"{name} \t True \t {number} \t {number}\n")
        path.write_text("".join(lines))
        yield "tspm", path, path


def _table(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def _labels(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    label = truth.classes[0]
    steps = [[name, step, label] for name in truth.ids for step in range(10)]
    path = _table(out / "segments.csv", [["id", "second", "label"], *steps])
    yield "ave-table", path, path
    events = [[name, 1, 4, label] for name in truth.ids]
    path = _table(out / "events.tsv", [["video_id", "start", "end", "category"], *events], "\t")
    yield "ave-table", path, path


def _parsing(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    rows = [[name, modality, 2, 5, truth.classes[1]] for name in truth.ids for modality in ("audio", "visual")]
    path = _table(out / "events.csv", [["id", "modality", "onset", "offset", "label"], *rows])
    yield "avvp-table", path, path


def _detections(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    event = {"segment": [1.0, 3.5], "label": truth.classes[0], "score": 0.7}
    path = out / "detections.json"
    path.write_text(json.dumps({"version": "1", "results": {name: [event, event] for name in truth.ids}}))
    yield "activitynet", path, path


def _sources(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    rows = [[name, 0.1, 0.2, 0.6, 0.7] for name in truth.ids]
    path = _table(out / "boxes.csv", [["id", "x1", "y1", "x2", "y2"], *rows])
    yield "boxes", path, path
    path = out / "boxes.json"
    path.write_text(json.dumps([{"id": name, "bbox": [[0.1, 0.2, 0.6, 0.7]]} for name in truth.ids]))
    yield "boxes", path, path
    heats = {name: np.eye(12, dtype=np.float32) for name in truth.ids}
    np.savez(out / "heats.npz", **heats)
    yield "heat-maps", out / "heats.npz", out / "heats.npz"
    folder = out / "heats"
    folder.mkdir(exist_ok=True)
    for name, heat in heats.items():
        np.save(folder / f"{name}.npy", heat)
    yield "heat-maps", folder / f"{truth.ids[0]}.npy", folder


def _masks(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    """The dataset's own masks."""
    root = truth.dataset.root.path
    names = {"gt_masks", "gt_mask", "labels_semantic"}
    sources = [path for path in sorted(root.rglob("*")) if path.is_dir() and path.name in names]
    source = sources[0].parent.parent if sources[0].name == "labels_semantic" else sources[0]
    folder = out / "masks"
    if not folder.exists():
        shutil.copytree(source, folder)
    test = [path for path in sorted(folder.rglob("*.png")) if "scne" in str(path)]
    yield "mask-folder", test[0], folder
    yield "mask-folder", test[-1], folder


def _regions(truth: Truth, out: Path) -> Iterator[tuple[str, Path, Path]]:
    """The dataset's own masks, and captions in all forms."""
    folder = out / "regions"
    for name in truth.ids:
        if not (folder / name).exists():
            shutil.copytree(truth.dataset.root.path / "clips" / name / "masks", folder / name / "masks")
    steps = [(name, k) for name in truth.ids for k in range(truth.steps_of(name))]
    entries = [{"image_id": f"{name}_{k}", "caption": "a dog barks"} for name, k in steps]
    (folder / "captions.json").write_text(json.dumps(entries))
    yield "ra-ssu-folder", folder / "captions.json", folder
    yield "ra-ssu-folder", next(iter(sorted(folder.rglob("*.png")))), folder
    (out / "coco.json").write_text(json.dumps({"annotations": entries}))
    lines = [{"id": name, "second": k, "text": "a dog"} for name, k in steps]
    (out / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (out / "text.txt").write_text("\n".join(f"{name}_{k}\ta dog" for name, k in steps))
    _table(out / "table.csv", [["id", "second", "caption"], *([name, k, "a cat"] for name, k in steps)])
    for name in ("coco.json", "lines.jsonl", "text.txt", "table.csv"):
        yield "captions", out / name, out / name


_FORMS = {
    "avqa": _answers,
    "ave": _labels,
    "avvp": _parsing,
    "davel": _detections,
    "ssl": _sources,
    "avs": _masks,
    "ra_ssu": _regions,
}


def _record(folder: Path) -> Made:
    """A record of a result, which carries a checksum."""
    from avkit.leaderboard import Figure, Record, read_record, write_record

    figures = {"Overall": Figure(0.5, 10, "questions", 0.4, 0.6)}
    record = Record("avqa", "music-avqa", "update", "test", "", 10, 9129, figures, "a", "tspm", None, "weights", [0])
    path = write_record(folder / "result-record.json", record)
    return "record of a result", path, lambda: repr(read_record(path)), True
