# SPDX-License-Identifier: Apache-2.0
"""Seconds that each metric takes on made-up predictions of the size of an official test set.

Prints one JSON line per metric. Data are made batch by batch from a seed and are not timed. With `--fraction` fewer
clips are scored and `seconds` is what was measured, not scaled up. With `--official DIR`, a folder of checkouts of
AVVP-ECCV20, EZ-VSL, AVSBench and UnAV by these names, the official code scores the same batches in the same run, and
`ratio` says how many times longer it took; `--fraction 0.02` keeps that bearable.

    python benchmarks/metrics.py --only MaskFScore AnswerAccuracy --fraction 0.1
"""

import argparse
import json
import platform
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from official_metrics import OFFICIAL

from avkit import metrics
from avkit.nn.event_nms import suppress_events

#: Clips, or questions, of the official test splits; of captions 2,000 pairs.
SIZES = {
    "S4": 740, "AVSS": 1554, "MUSIC-AVQA": 9185, "captions": 2000, "AVE": 402, "LLP": 1200, "VGG-SS": 5158,
    "UnAV-100": 2167,
}  # fmt: skip
WORDS = [
    "a",
    "the",
    "man",
    "woman",
    "dog",
    "plays",
    "sings",
    "barks",
    "guitar",
    "softly",
    "loudly",
    "left",
    "and",
    "then",
]
TYPES = ["Audio Counting", "Visual Location", "Audio-Visual Temporal"]

Batches = Iterator[tuple[Any, ...]]


def binary(clips: int, device: str) -> Batches:
    """Clips of five frames of 224 x 224, four at a time."""
    for start in range(0, clips, 4):
        size = min(4, clips - start)
        target = torch.rand(size, 5, 14, 14, device=device).gt(0.7).repeat_interleave(16, 2).repeat_interleave(16, 3)
        yield 2 * target + torch.randn(size, 5, 224, 224, device=device) - 1, target.byte()


def semantic_labels(clips: int, device: str) -> Batches:
    """Clips of ten frames of 224 x 224 with labels of 71 classes, four at a time."""
    for start in range(0, clips, 4):
        shape = (min(4, clips - start), 10, 224, 224)
        yield torch.randint(0, 71, shape, device=device), torch.randint(0, 71, shape, device=device, dtype=torch.uint8)


def semantic_logits(clips: int, device: str) -> Batches:
    """The same as logits, one clip at a time."""
    for _ in range(clips):
        target = torch.randint(0, 71, (1, 10, 224, 224), device=device, dtype=torch.uint8)
        yield torch.randn(1, 10, 71, 224, 224, device=device), target


def answers(questions: int, device: str) -> Batches:
    """Scores of 42 answers, 64 questions at a time."""
    for start in range(0, questions, 64):
        size = min(64, questions - start)
        target = torch.randint(0, 42, (size,), device=device)
        yield torch.randn(size, 42, device=device), target, random.choices(TYPES, k=size)


def captions(count: int, device: str) -> Batches:
    """Captions of 8 to 20 words with one reference each, 64 at a time."""

    def sentence() -> str:
        return " ".join(random.choices(WORDS, k=random.randint(8, 20)))

    for start in range(0, count, 64):
        size = min(64, count - start)
        yield [sentence() for _ in range(size)], [sentence() for _ in range(size)]


def segments(clips: int, device: str) -> Batches:
    """Ten segments of 29 classes, all clips at once as in the official loader."""
    yield torch.randn(clips, 10, 29, device=device), torch.randint(0, 29, (clips, 10), device=device)


def parsing(clips: int, device: str) -> Batches:
    """Probabilities and truth of ten segments of 25 classes, few of them on."""
    for start in range(0, clips, 200):
        shape = (min(200, clips - start), 10, 25)
        runs = [torch.rand(shape[0], 5, 25, device=device).gt(0.95).repeat_interleave(2, 1) for _ in range(2)]
        chances = [(0.6 * run + 0.45 * torch.rand(shape, device=device)).clamp(max=1) for run in runs]
        yield *chances, *runs, torch.rand(shape[0], 25, device=device) * 0.5 + 0.4


def heat_maps(clips: int, device: str) -> Batches:
    """Maps of 7 x 7, a box each that they more or less follow, 64 at a time."""
    for start in range(0, clips, 64):
        size = min(64, clips - start)
        truth = torch.zeros(size, 224, 224, device=device)
        for one in truth:
            x, y = random.randrange(100), random.randrange(100)
            one[y : y + random.randrange(60, 200), x : x + random.randrange(60, 200)] = 1
        coarse = torch.nn.functional.adaptive_avg_pool2d(truth[:, None], 7)[:, 0]
        yield 4 * coarse + torch.randn(size, 7, 7, device=device), truth


def events(clips: int, device: str) -> Batches:
    """100 detections per video around about three truths of 100 classes, and elsewhere."""
    for number in range(clips):
        count = random.randint(1, 5)
        start = 50 * torch.rand(count, 1)
        true = {
            "segments": torch.cat([start, start + 1 + 9 * torch.rand(count, 1)], 1),
            "labels": torch.randint(100, (count,)),
        }
        near = torch.randint(count, (100,))
        spans = (true["segments"][near] + torch.randn(100, 2)).clamp(min=0).sort(1).values
        labels = torch.where(torch.rand(100) < 0.5, true["labels"][near], torch.randint(100, (100,)))
        detected = {"segments": spans + torch.tensor([0.0, 0.05]), "labels": labels, "scores": torch.rand(100)}
        yield [f"video {number:05d}"], [detected], [true]


class SoftNMS:
    """`suppress_events` timed like a metric: ten videos a call, each of 2,000 segments in 100 classes."""

    def to(self, device: str) -> "SoftNMS":
        """It stays where it is."""
        return self

    def update(self, videos: Any) -> None:
        """Suppress some videos."""
        suppress_events(videos)

    def compute(self) -> dict[str, float]:
        """Nothing to add."""
        return {}


def dense(clips: int, device: str) -> Batches:
    """2,000 segments of 100 classes per video, ten videos at a time."""

    def video() -> tuple[Any, ...]:
        start = 200 * torch.rand(2000, 1)
        spans = torch.cat([start, start + 0.2 + 20 * torch.rand(2000, 1)], 1)
        return spans.numpy(), torch.rand(2000).pow(4).numpy(), torch.randint(100, (2000,)).numpy()

    for start in range(0, clips, 10):
        yield ([video() for _ in range(min(10, clips - start))],)


def _cases() -> dict[str, tuple[Callable[[], Any], Callable[[int, str], Batches], str]]:
    return {
        "MaskIoU": (lambda: metrics.MaskIoU(form="logits"), binary, "S4"),
        "MaskFScore": (lambda: metrics.MaskFScore(form="logits"), binary, "S4"),
        "SemanticMask-labels": (metrics.SemanticMask, semantic_labels, "AVSS"),
        "SemanticMask-logits": (metrics.SemanticMask, semantic_logits, "AVSS"),
        "AnswerAccuracy": (metrics.AnswerAccuracy, answers, "MUSIC-AVQA"),
        "CaptionScores-bleu": (
            lambda: metrics.CaptionScores("plain", meteor=False, rouge=False, cider=False),
            captions,
            "captions",
        ),
        "CaptionScores-python": (lambda: metrics.CaptionScores("plain", meteor=False), captions, "captions"),
        "CaptionScores": (metrics.CaptionScores, captions, "captions"),
        "SegmentAccuracy": (metrics.SegmentAccuracy, segments, "AVE"),
        "ParsingF1": (metrics.ParsingF1, parsing, "LLP"),
        "SourceLocalization": (metrics.SourceLocalization, heat_maps, "VGG-SS"),
        "EventDetectionMAP": (metrics.EventDetectionMAP, events, "UnAV-100"),
        "soft-NMS": (SoftNMS, dense, "UnAV-100"),
    }


def compare(name: str, fraction: float, seed: int, official: Path) -> dict[str, Any]:
    """Seconds of ours and of the official code on the same batches, and both values."""
    make, batches, data = _cases()[name]
    torch.manual_seed(seed)
    random.seed(seed)
    given = list(batches(max(1, round(SIZES[data] * fraction)), "cpu"))
    metric = make()
    start = time.perf_counter()
    for batch in given:
        metric.update(*batch)
    values = metric.compute()
    seconds = time.perf_counter() - start
    try:
        theirs, value = OFFICIAL[name](official, given)
    except ImportError as e:
        return {"metric": name, "official": f"not run: {e}"}
    keys = {
        "ParsingF1": "segment/Type",
        "SourceLocalization": "cIoU@0.5",
        "SemanticMask-logits": "mIoU",
        "EventDetectionMAP": "Avg",
    }
    mine = None if value is None else float(values[keys[name]] if name in keys else values)
    row = {"metric": name, "fraction": fraction, "ours_s": round(seconds, 3), "official_s": round(theirs, 3)}
    return {**row, "ratio": round(theirs / seconds, 1), "ours": mine, "official": value}


def measure(name: str, fraction: float, seed: int, device: str) -> dict[str, Any]:
    """Seconds of all updates and of `compute`, and the process's peak memory so far."""
    make, batches, data = _cases()[name]
    torch.manual_seed(seed)
    random.seed(seed)
    metric, count, update = make().to(device), max(1, round(SIZES[data] * fraction)), 0.0
    for batch in batches(count, device):
        start = time.perf_counter()
        metric.update(*batch)
        if device != "cpu":
            torch.cuda.synchronize()
        update += time.perf_counter() - start
    start = time.perf_counter()
    metric.compute()
    seconds = {"update_s": round(update, 3), "compute_s": round(time.perf_counter() - start, 3)}
    seconds["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    where = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {"metric": name, "data": data, "count": count, **seconds, "seed": seed, **where, "cpu": platform.machine()}


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(_cases()), default=list(_cases()))
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--official", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.only:
        if args.official:
            if name in OFFICIAL:
                print(json.dumps(compare(name, args.fraction, args.seed, args.official)), flush=True)
            continue
        print(json.dumps(measure(name, args.fraction, args.seed, args.device)), flush=True)


if __name__ == "__main__":
    main()
