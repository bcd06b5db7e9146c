# SPDX-License-Identifier: Apache-2.0
"""Runs the official evaluators on the batches of `metrics.py`, out of checkouts that the user names.

Nothing of them is part of avkit. Each function gives the seconds spent in the official code and the value it found.
"""

import contextlib
import importlib.util
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

Batches = Sequence[tuple[Any, ...]]


#: Packages that the files import and the functions timed here do not use, so that they need not be installed.
_UNUSED = ("cv2", "pandas", "torchvision", "tqdm")


def load(path: Path) -> ModuleType:
    """A module by its file.

    Raises:
        ModuleNotFoundError: If the file, or a package that it uses, is missing.
    """
    if not path.exists():
        raise ModuleNotFoundError(f"no {path.name} in {path.parent}")
    spec = importlib.util.spec_from_file_location(f"official_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for name in _UNUSED:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].transforms = None  # type: ignore[attr-defined]
    spec.loader.exec_module(module)
    return module


def parsing(root: Path, batches: Batches) -> tuple[float, float]:
    """AVVP-ECCV20: Type@AV over segments."""
    code = load(root / "AVVP-ECCV20" / "utils" / "eval_metrics.py")
    values, start = [], time.perf_counter()
    for audio, visual, true_a, true_v, video in batches:
        for a, v, ta, tv, o in zip(audio, visual, true_a, true_v, video, strict=True):
            gate = (o >= 0.5).numpy()[:, None]
            so_a, so_v = ((x.T.numpy() >= 0.5) * gate for x in (a, v))
            gt_a, gt_v = (x.T.numpy().astype(float) for x in (ta, tv))
            args = (so_a * 1, so_v * 1, so_a * so_v, gt_a, gt_v, gt_a * gt_v)
            f_a, f_v, _, f_av = code.segment_level(*args)
            code.event_level(*args)
            values.append((f_a + f_v + f_av) / 3)
    return time.perf_counter() - start, float(np.mean(values))


def localization(root: Path, batches: Batches) -> tuple[float, float]:
    """EZ-VSL: AP50 of maps enlarged one by one, as its test loop does."""
    code = load(root / "EZ-VSL" / "utils.py")
    evaluator, start = code.Evaluator(), time.perf_counter()
    for maps, truth in batches:
        for one, true in zip(maps, truth.numpy(), strict=True):
            size = true.shape
            large = torch.nn.functional.interpolate(one[None, None], size, mode="bilinear", align_corners=True)
            heat = code.normalize_img(large.numpy()[0, 0])
            middle = np.sort(heat.flatten())[int(heat.shape[0] * heat.shape[1] * 0.5)]
            evaluator.cal_CIOU(heat, true, middle)
    value = evaluator.finalize_AP50()
    evaluator.finalize_AUC()
    return time.perf_counter() - start, float(value)


def _masks(root: Path, batches: Batches, name: str) -> tuple[float, float]:
    code = load(root / "AVSBench" / "avs_scripts" / "avs_s4" / "utils" / "utility.py")
    values, start = [], time.perf_counter()
    on_cpu = patch.object(torch.Tensor, "cuda", lambda x: x)
    # it writes, prints, and asks for a GPU
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), on_cpu:
        for logits, target in batches:
            for x, y in zip(logits, target.float(), strict=True):
                values.append(float(code.mask_iou(x, y) if name == "iou" else code.Eval_Fmeasure(x, y, folder)))
    return time.perf_counter() - start, float(np.mean(values))


def semantic(root: Path, batches: Batches) -> tuple[float, float]:
    """AVSBench: mean over classes of the mean IoU over the frames that a class occurs in, clip by clip."""
    code = load(root / "AVSBench" / "avs_scripts" / "avss" / "utils" / "compute_color_metrics.py")
    sums, counts, start = torch.zeros(71), torch.zeros(71), time.perf_counter()
    for logits, target in batches:
        for x, y in zip(logits, target, strict=True):
            iou, _, count, _ = code.calc_color_miou_fscore(x, y)
            sums, counts = sums + iou, counts + count
    values = torch.nan_to_num(sums / counts)
    return time.perf_counter() - start, float(values.mean())


def suppression(root: Path, batches: Batches) -> tuple[float, None]:
    """UnAV: `batched_nms` of one video after the other; needs its extension `nms_1d_cpu` built."""
    code = load(root / "UnAV" / "libs" / "utils" / "nms.py")
    start = time.perf_counter()
    for (videos,) in batches:
        for video in videos:
            code.batched_nms(*map(torch.from_numpy, video), 0.7, 0.001, 100, True, True, 0.4, 0.0)
    return time.perf_counter() - start, None


def events(root: Path, batches: Batches) -> tuple[float, float]:
    """UnAV: average mAP, one process."""
    vars(np).setdefault("float", float)  # a name that this code uses and numpy 1.24 gave up
    code = load(root / "UnAV" / "libs" / "utils" / "metrics.py")
    database: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {"video-id": [], "t-start": [], "t-end": [], "label": [], "score": []}
    for videos, detected, true in batches:
        for name, guess, truth in zip(videos, detected, true, strict=True):
            spans = zip(truth["segments"].tolist(), truth["labels"].tolist(), strict=True)
            notes = [{"segment": s, "label_id": k, "label": str(k)} for s, k in spans]
            database[name] = {"subset": "test", "annotations": notes, "duration": 60.0}
            rows["video-id"] += [name] * len(guess["scores"])
            for key, values in (
                ("t-start", guess["segments"][:, 0]),
                ("t-end", guess["segments"][:, 1]),
                ("label", guess["labels"]),
                ("score", guess["scores"]),
            ):
                rows[key] += values.tolist()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"database": database}, file)
        file.flush()
        start = time.perf_counter()
        evaluator = code.ANETdetection(file.name, split="test", tiou_thresholds=np.linspace(0.1, 0.9, 9), num_workers=1)
        rows_np = {k: v if k == "video-id" else np.array(v) for k, v in rows.items()}
        result = evaluator.evaluate(rows_np, verbose=False)
    average = next(float(x) for x in result if np.ndim(x) == 0)
    return time.perf_counter() - start, average


#: By case of `metrics.py`.
OFFICIAL: dict[str, Callable[[Path, Batches], tuple[float, float | None]]] = {
    "ParsingF1": parsing,
    "SourceLocalization": localization,
    "MaskIoU": lambda root, batches: _masks(root, batches, "iou"),
    "MaskFScore": lambda root, batches: _masks(root, batches, "f"),
    "SemanticMask-logits": semantic,
    "EventDetectionMAP": events,
    "soft-NMS": suppression,
}
