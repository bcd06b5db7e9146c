# SPDX-License-Identifier: Apache-2.0
"""Seconds that each metric takes on made-up predictions of the size of an official test set.

Prints one JSON line per metric. Data are made batch by batch from a seed and are not timed. With `--fraction` fewer
clips are scored and `seconds` is what was measured, not scaled up.

    python benchmarks/metrics.py --only MaskFScore AnswerAccuracy --fraction 0.1
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from avkit import metrics

#: Clips (questions, captions) of the official test splits: AVSBench S4, AVSBench-semantic, MUSIC-AVQA; for captions
#: 256 clips of ten steps.
SIZES = {"S4": 740, "AVSS": 1554, "MUSIC-AVQA": 9185, "captions": 2560}
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


def _cases() -> dict[str, tuple[Callable[[], Any], Callable[[int, str], Batches], str]]:
    return {
        "MaskIoU": (metrics.MaskIoU, binary, "S4"),
        "MaskFScore": (metrics.MaskFScore, binary, "S4"),
        "SemanticMask-labels": (metrics.SemanticMask, semantic_labels, "AVSS"),
        "SemanticMask-logits": (metrics.SemanticMask, semantic_logits, "AVSS"),
        "AnswerAccuracy": (metrics.AnswerAccuracy, answers, "MUSIC-AVQA"),
        "CaptionScores-bleu": (
            lambda: metrics.CaptionScores("plain", meteor=False, rouge=False, cider=False),
            captions,
            "captions",
        ),
        "CaptionScores": (metrics.CaptionScores, captions, "captions"),
    }


def measure(name: str, fraction: float, seed: int, device: str) -> dict[str, Any]:
    """Seconds of all updates and of `compute`."""
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
    where = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {"metric": name, "data": data, "count": count, **seconds, "seed": seed, **where, "cpu": platform.machine()}


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(_cases()), default=list(_cases()))
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    for name in args.only:
        print(json.dumps(measure(name, args.fraction, args.seed, args.device)), flush=True)


if __name__ == "__main__":
    main()
