# SPDX-License-Identifier: Apache-2.0
"""Scores our predictions by the authors' evaluation code, out of checkouts that the user names, beside our figures.

    python benchmarks/official_scores.py --official DIR --root SCENES results/*/*/seed-0
    python benchmarks/official_scores.py --official DIR reproductions/*/*

DIR holds `AVE-ECCV18`, `AVVP-ECCV20`, `UnAV`, `TSPM`, `AVSBench`, `EZ-VSL` and `Localizing-Visual-Sounds-the-Hard-Way`,
as `git clone` makes them. Their packages are needed too: torchvision, scikit-learn, pandas below 3, joblib, opencv,
munch. Each argument is a folder with a record and its predictions, or that of `avkit reproduce ID --scenes`. SCENES
holds exported scenes, a folder per dataset. True answers are read out of the exported files by the authors' code, or
here, not by avkit.
"""

import argparse
import base64
import contextlib
import csv
import gzip
import importlib
import io
import json
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from official_metrics import load

Lines = Sequence[Mapping[str, Any]]
Figures = dict[str, float]

#: Largest difference of two figures that are called the same.
SAME = 1e-6
#: Names in TSPM's printed lines of our figures.
PRINTED = {
    "Audio Count": "Audio Counting",
    "Audio Compt": "Audio Comparative",
    "Audio Averg": "Audio Avg",
    "Visual Count": "Visual Counting",
    "Visual Local": "Visual Location",
    "Visual Averg": "Visual Avg",
    "Audio-Visual Exist": "Audio-Visual Existential",
    "Audio-Visual Count": "Audio-Visual Counting",
    "Audio-Visual Local": "Audio-Visual Location",
    "Audio-Visual Compt": "Audio-Visual Comparative",
    "Audio-Visual Templ": "Audio-Visual Temporal",
    "Audio-Visual Averg": "Audio-Visual Avg",
}


@contextlib.contextmanager
def checkout(folder: Path, working: Path | None = None) -> Iterator[None]:
    """Import from a checkout, in a working folder, on the CPU, and silently."""
    before = set(sys.modules)
    here = Path.cwd()
    sys.path.insert(0, str(folder))
    os.chdir(working or folder)
    on_cpu = patch.object(torch.Tensor, "cuda", lambda x: x)
    to_cpu = patch.object(torch.Tensor, "to", lambda x, *_: x)
    try:
        with on_cpu, to_cpu, contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.chdir(here)
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", [])]
            if any(Path(place).is_relative_to(folder) for place in places):
                del sys.modules[name]


def without_main(path: Path, until: str) -> ModuleType:
    """A script as a module, up to the line where it begins to run."""
    module = ModuleType(path.stem)
    text = path.read_text(encoding="utf-8")
    start = text.index(until)
    exec(compile(text[:start], str(path), "exec"), module.__dict__)
    return module


def events_of_segments(official: Path, scenes: Path, lines: Lines) -> Figures:
    """AVE-ECCV18: `compute_acc` of its training script, on its labels in its order."""
    import h5py

    with h5py.File(scenes / "test_order.h5") as file:
        order = file["order"][:]
    with h5py.File(scenes / "labels.h5") as file:
        labels = file["avadataset"][:]
    notes = (scenes / "Annotations.txt").read_text(encoding="utf-8").splitlines()[1:]
    column = {}
    for index, note in enumerate(notes):
        column[note.split("&")[0]] = int(labels[index, :, :28].sum(0).argmax())
    spare = next((index for index in range(28) if index not in column.values()), 28)  # of a class that no clip has
    by_line = {int(line["id"].rpartition("#")[2]): line["labels"] for line in lines}
    answers = np.zeros((len(order), 10, 29))
    for row, index in enumerate(order):
        for step, name in enumerate(by_line[int(index)]):
            answers[row, step, 28 if name is None else column.get(name, spare)] = 1
    folder = official / "AVE-ECCV18"
    with checkout(folder), patch.object(sys, "argv", ["x"]), patch.object(torch.nn.Module, "cuda", lambda x: x):
        code = without_main(folder / "supervised_main.py", "# training and testing")
        return {"accuracy": float(code.compute_acc(labels[order], answers, len(order)))}


class Answers(torch.nn.Module):
    """Stands where the authors' loops call a network, and gives our answers in turn."""

    def __init__(self, answers: Sequence[Any]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def forward(self, *_: Any) -> Any:
        """The next answer."""
        return next(self.answers)


def parsing(official: Path, scenes: Path, lines: Lines) -> Figures:
    """AVVP-ECCV20: `eval` of its script, which reads the exported tables; what it averages is kept unrounded."""
    names = {line["id"]: line for line in lines}
    with (scenes / "AVVP_test_pd.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    folder = official / "AVVP-ECCV20"
    kept: dict[str, list[tuple[float, ...]]] = {"segment": [], "event": []}
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "data").symlink_to(scenes.resolve())
        with checkout(folder, Path(place)):
            code = importlib.import_module("main_avvp")
            classes = importlib.import_module("dataloader").ids_to_multinomial
            answers = []
            for row in rows:
                maps = torch.zeros(1, 10, 2, 25)
                for side, key in enumerate(("audio", "visual")):
                    for name, start, end in names[row[0]][key]:
                        maps[0, int(start) : int(end), side, int(classes([name]).argmax())] = 1
                answers.append((torch.ones(1, 25), None, None, maps))
            samples = [dict.fromkeys(("audio", "video_s", "video_st", "label"), torch.zeros(1))] * len(rows)
            for level in kept:
                function = vars(code)[f"{level}_level"]

                def keep(*args: Any, function: Any = function, level: str = level) -> tuple[float, ...]:
                    value: tuple[float, ...] = function(*args)
                    kept[level].append(value)
                    return value

                vars(code)[f"{level}_level"] = keep
            code.eval(Answers(answers), samples, "data/AVVP_test_pd.csv")
    figures = {}
    for level, values in kept.items():
        audio, visual, event, both = np.mean(values, axis=0)
        parts = {"A": audio, "V": visual, "AV": both, "Type": (audio + visual + both) / 3, "Event": event}
        figures |= {f"{level}/{name}": float(value) for name, value in parts.items()}
    return figures


def untrimmed_events(official: Path, scenes: Path, lines: Lines) -> Figures:
    """UnAV: `ANETdetection`, which reads the exported annotations."""
    path = next((scenes / "annotations").glob("*.json"))
    numbers = {}
    for video in json.loads(path.read_text(encoding="utf-8"))["database"].values():
        numbers |= {note["label"]: note["label_id"] for note in video["annotations"]}
    events = [(line["id"], *event) for line in lines for event in line["events"]]
    table = {
        "video-id": [event[0] for event in events],
        "t-start": np.array([event[1] for event in events]),
        "t-end": np.array([event[2] for event in events]),
        "label": np.array([numbers[event[3]] for event in events]),
        "score": np.array([event[4] for event in events]),
    }
    vars(np).setdefault("float", float)  # a name that this code uses and numpy 1.24 gave up
    code = load(official / "UnAV" / "libs" / "utils" / "metrics.py")
    with contextlib.redirect_stdout(io.StringIO()):
        thresholds = np.linspace(0.1, 0.9, 9)
        detection = code.ANETdetection(str(path), split="test", tiou_thresholds=thresholds, num_workers=1)
        each, average = detection.evaluate(table, verbose=False)
    figures = {f"mAP@{threshold:.1f}": float(value) for threshold, value in zip(thresholds, each, strict=True)}
    return {"Avg": float(average), **figures}


def answers_to_questions(official: Path, scenes: Path, lines: Lines) -> Figures:
    """TSPM: `test` of its script, with the questions and the vocabulary of answers that it reads itself."""
    folder = official / "TSPM"
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "dataset").mkdir()
        (Path(place) / "work").mkdir()
        own = "split_que_id" if (scenes / "split_que_id").exists() else "json_update"
        target = Path(place) / "dataset" / "split_que_id"
        target.mkdir()
        for split in ("train", "val", "test"):
            source = next(path for path in sorted((scenes / own).glob(f"*{split}.json")))
            (target / f"music_avqa_{split}.json").symlink_to(source.resolve())
        samples = json.loads((target / "music_avqa_test.json").read_text(encoding="utf-8"))
        (Path(place) / "work" / "dataset").symlink_to(Path(place) / "dataset")
        with checkout(folder, Path(place) / "work"), patch.object(sys, "argv", ["x"]):
            loader = importlib.import_module("dataloader")
            sys.modules["dataloadersp"] = loader  # as the script calls it
            label = str(target / "music_avqa_test.json")
            data = loader.AVQA_dataset(SimpleNamespace(), label, *[""] * 6)
            code = importlib.import_module("main_test")
            del sys.modules["dataloadersp"]
            vocabulary = data.ans_vocab
            by_id = {line["id"].rpartition("#")[2] or line["id"]: line["answer"] for line in lines}
            inputs, outputs = [], []
            for sample in samples:
                one = dict.fromkeys(("audios_feat", "visual_feat", "audios_patch_feat"), torch.zeros(1))
                one |= dict.fromkeys(("visual_patch_feat", "question_feat", "question_prompt"), torch.zeros(1))
                one["answer_label"] = torch.tensor([loader.ids_to_multinomial(sample["anser"], vocabulary)])
                one["question_id"] = torch.tensor([sample["question_id"]])
                inputs.append(one)
                answer = by_id[str(sample["question_id"])]
                outputs.append(torch.tensor([[float(name == answer) for name in vocabulary]]))
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                overall = code.test(Answers(outputs), inputs, os.devnull)
    figures = {"Overall": overall / 100}
    for name, value in re.findall(r"([\w-]+ \w+) Acc: ([\d.]+) %", printed.getvalue()):
        figures[PRINTED[name]] = float(value) / 100
    return figures


def array(encoded: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """An array of a line of predictions."""
    data = zlib.decompress(base64.b64decode(encoded["zlib"]))
    return np.frombuffer(data, encoded["dtype"]).reshape(encoded["shape"])


def _number(path: Path) -> int:
    """The number at the end of a file's name."""
    return int(path.stem.rpartition("_")[2])


def _true_mask(path: Path, size: int) -> torch.Tensor:
    """A mask as the authors' loader makes it, resized as torchvision does for masks."""
    from PIL import Image

    with Image.open(path) as picture:
        mask = picture.convert("1").resize((size, size), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(mask).astype(np.float32))


def masks(official: Path, scenes: Path, lines: Lines) -> Figures:
    """AVSBench: `mask_iou` and `Eval_Fmeasure` of a clip at a time, as its test does, on the exported masks."""
    code = load(official / "AVSBench" / "avs_scripts" / "avs_s4" / "utils" / "utility.py")
    ious, scores = [], []
    with tempfile.TemporaryDirectory() as folder, checkout(official / "AVSBench", Path(folder)):
        for line in lines:
            levels = torch.from_numpy(array(line["levels"]).astype(np.float32))
            logits = torch.logit(
                (levels + 0.5) / 254, eps=1e-4
            )  # between the threshold that a pixel reaches and the next
            logits[levels == 254] = 40.0  # a probability of 1
            files = sorted(scenes.rglob(f"gt_masks/test/*/{line['id']}/*.png"), key=_number)
            true = torch.stack([_true_mask(files[step], logits.shape[-1]) for step in line["steps"]])
            ious.append(float(code.mask_iou(logits, true)))
            scores.append(float(code.Eval_Fmeasure(logits, true, folder)))
    return {"mIoU": float(np.mean(ious)), "F": float(np.mean(scores))}


def boxes(scenes: Path) -> list[dict[str, Any]]:
    """The exported boxes of VGG-SS."""
    path = next(path for path in sorted(scenes.rglob("vggss.json")))
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sounding_places(official: Path, scenes: Path, lines: Lines) -> Figures:
    """EZ-VSL: `Evaluator` and the steps of its test before it, on the exported boxes."""
    notes = boxes(scenes)
    folder = official / "EZ-VSL"
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "metadata").mkdir()
        (Path(place) / "metadata" / "vggss.json").write_text(json.dumps(notes), encoding="utf-8")
        with checkout(folder, Path(place)):
            code = importlib.import_module("utils")
            data = importlib.import_module("datasets")
            all_boxes = data.load_all_bboxes("", format="vggss")
            evaluator = code.Evaluator()
            for line in lines:
                maps = torch.from_numpy(array(line["heat"]).copy())[:, None]
                large = torch.nn.functional.interpolate(maps, (224, 224), mode="bilinear", align_corners=True)
                heat = code.normalize_img(large.numpy()[0, 0])
                middle = np.sort(heat.flatten())[int(heat.shape[0] * heat.shape[1] * 0.5)]
                evaluator.cal_CIOU(heat, data.bbox2gtmap(all_boxes[line["id"]], "vggss"), middle)
            return {"cIoU@0.5": float(evaluator.finalize_AP50()), "AUC": float(evaluator.finalize_AUC())}


def sounding_places_of_lvs(official: Path, scenes: Path, lines: Lines) -> Figures:
    """LVS: `Evaluator`, `testset_gt` and the steps of its test between them, on the exported boxes."""
    import cv2
    from sklearn.metrics import auc

    truth = SimpleNamespace(testset="vggss", gt_all={note["file"]: note["bbox"] for note in boxes(scenes)})
    folder = official / "Localizing-Visual-Sounds-the-Hard-Way"
    with checkout(folder):
        code = importlib.import_module("utils")
        values = []
        for line in lines:
            heat = cv2.resize(array(line["heat"])[0], dsize=(224, 224), interpolation=cv2.INTER_LINEAR)
            pred = 1 - code.normalize_img(-heat)
            threshold = np.sort(pred.flatten())[int(pred.shape[0] * pred.shape[1] / 2)]
            pred[pred > threshold] = 1
            pred[pred < 1] = 0
            values.append(code.Evaluator().cal_CIOU(pred, code.testset_gt(truth, f"{line['id']}.mp4"), 0.5)[0])
    steps = [0.05 * i for i in range(21)]
    shares = [float(np.mean(np.array(values) >= step)) for step in steps]
    return {"cIoU@0.5": float(np.mean(np.array(values) >= 0.5)), "AUC": float(auc(steps, shares))}


@dataclass(frozen=True)
class Oracle:
    """An authors' evaluation.

    Attributes:
        repository: Folder of the checkout.
        score: Figures of predictions.
        same: Largest difference that rounding explains.
    """

    repository: str
    score: Callable[[Path, Path, Lines], Figures]
    same: float = SAME


ORACLES = {
    "ave": Oracle("AVE-ECCV18", events_of_segments),
    "ave_weak": Oracle("AVE-ECCV18", events_of_segments),
    "avvp": Oracle("AVVP-ECCV20", parsing),
    "davel": Oracle("UnAV", untrimmed_events),
    "avqa": Oracle("TSPM", answers_to_questions, same=5.1e-5),
    "avs": Oracle("AVSBench", masks),
    "ssl": Oracle("EZ-VSL", sounding_places),
    "ssl, lvs": Oracle("Localizing-Visual-Sounds-the-Hard-Way", sounding_places_of_lvs),
}


def oracle_of(record: Mapping[str, Any]) -> Oracle:
    """The evaluation that a record's figures are those of."""
    if record["task"] == "ssl" and "lvs" in record["protocol"].get("metric", ""):
        return ORACLES["ssl, lvs"]
    return ORACLES[record["task"]]


def results_in(folder: Path, root: Path | None) -> Iterator[tuple[Mapping[str, Any], Lines, Path]]:
    """Records of a folder with their predictions and the folder of their scenes."""
    place = folder / "test" if (folder / "test").is_dir() else folder
    name = next(name for name in ("records.json", "record.json") if (place / name).exists())
    content = json.loads((place / name).read_text(encoding="utf-8"))
    path = next(place.glob("predictions.jsonl*"))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [json.loads(line) for line in data.decode("utf-8").splitlines()]
    for record in content if isinstance(content, list) else [content]:
        mine = [line for line in lines if (line["task"], line["dataset"]) == (record["task"], record["dataset"])]
        own = folder / "scenes" if (folder / "scenes").is_dir() else root
        if own is None or record["dataset"] == "scenes":
            continue  # the built-in scenes are in no layout that the authors' code reads
        yield record, mine, (own / record["dataset"]).resolve()


def main() -> None:
    """Print a line per figure, and fail where one differs."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--official", type=Path, required=True, help="folder of the authors' checkouts")
    p.add_argument("--root", type=Path, help="folder of the exported scenes, for results that have none beside them")
    p.add_argument("folders", nargs="+", type=Path)
    args = p.parse_args()
    official = args.official.resolve()
    print("| method | task | clips or questions | authors' code | figures | theirs | ours | largest difference |")
    print("|---|---|--:|---|--:|--:|--:|--:|")
    different = 0
    for folder in args.folders:
        for record, lines, scenes in results_in(folder, args.root):
            oracle = oracle_of(record)
            theirs = oracle.score(official, scenes, lines)
            ours = {name: record["figures"][name]["value"] for name in theirs if name in record["figures"]}
            gaps = {name: abs(theirs[name] - value) for name, value in ours.items()}
            largest = max(gaps.values())
            different += largest > oracle.same
            cells = [record["method"], record["task"], len(lines), oracle.repository, len(ours)]
            shown = list(ours)[:2]
            for figures in (theirs, ours):
                cells.append(", ".join(f"{name} {100 * figures[name]:.4f}" for name in shown))
            cells.append(f"{largest:.1e}")
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
