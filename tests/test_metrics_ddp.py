# SPDX-License-Identifier: Apache-2.0
"""Two processes give the numbers of one, also where one of them saw no data."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from avkit.metrics import (
    AnswerAccuracy,
    CaptionScores,
    EventDetectionMAP,
    EventRecall,
    MaskFScore,
    MaskIoU,
    PairingAccuracy,
    ParsingF1,
    SegmentAccuracy,
    SemanticMask,
    SourceLocalization,
    TaggingScores,
)


def make_metrics():
    return [
        MaskIoU(),
        MaskFScore(),
        SemanticMask(3),
        AnswerAccuracy(),
        CaptionScores("plain", meteor=False),
        SegmentAccuracy(6),
        ParsingF1(6),
        SourceLocalization(size=6, clean=True),
        EventRecall((0.0, 2.0, 6.0)),
        EventDetectionMAP(),
        TaggingScores(6, (1, 3)),
        PairingAccuracy(),
    ]


def update(metrics, clips, change=lambda x: x, named=False):
    """Score some of three clips, by their names if so; `change` is applied to every tensor of floats on its way in."""
    iou, f, semantic, answers, captions, segments, parsing, places, recall, events, tags, pairing = metrics
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(3, 2, 6, 6, generator=generator)
    logits, audible, visible = change(raw), change(raw[:, 0].sigmoid()), change(1 - raw[:, 0].sigmoid())
    target = torch.randint(0, 3, (3, 2, 6, 6), generator=generator).to(logits.device)
    texts = ["a dog barks at a man", "a cat meows — softly", "two women sing"]
    for i in clips:
        row = slice(i, i + 1)
        clip = {"clips": [f"clip {i}"]} if named else {}
        iou.update(logits[row], target[row] > 0, **clip)
        f.update(logits[row], target[row] > 0, **clip)
        semantic.update((target[row] + i) % 3, target[row], **clip)
        answers.update(logits[row].flatten(1), target[row].flatten()[:1], ["Audio Counting"], **clip)
        segments.update(logits[row, 0], target[row, 0, 0] * 2, **clip)
        parsing.update(audible[row], visible[row], target[row, 0] > 0, target[row, 1] > 0, **clip)
        places.update(logits[row, 0, :4, :4], change((target[row, 0] > 0).float()), **clip)
        spans, labels = change(torch.tensor([[0.0, 2.0], [1.0, 4.0 + i]])), torch.tensor([0, 1]).to(logits.device)
        guess = {"segments": spans, "labels": labels, "scores": change(torch.tensor([0.5, 0.5]))}
        for metric in (recall, events):
            metric.update([f"clip {i}"], [guess], [{"segments": spans + 0.5 * i, "labels": labels}])
        tags.update(logits[row, 0, 0], target[row, 0, 1] > 0, **clip)
        sounds = torch.stack([target[row] == 1, target[row] == 2], 2)
        about = [[["a dog barks", texts[i]]] * 2]
        pairing.update(logits[row, :, None], [[[texts[i]]] * 2], sounds, about, **clip)
        captions.update([texts[i]], [["a dog barks", texts[(i + 1) % 3]]], **clip, **({"places": [i]} if named else {}))


def values(metrics):
    results = [metric.compute() for metric in metrics]
    return [float(v) for r in results for v in (r.values() if isinstance(r, dict) else [r])]


def rows(metrics):
    """n and ends of the interval of every score; -1 where there is none."""
    found = []
    for metric in metrics:
        for row in metric.compute_rows().values():
            found.append((row.n, -1 if row.low is None else row.low, -1 if row.high is None else row.high))
    return found


def run(rank, folder, shares, expected, expected_rows):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{len(shares[0])}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    metrics = make_metrics()
    for share in shares:
        update(metrics, share[rank])
        for got, want in zip(values(metrics), expected, strict=True):
            assert math.isclose(got, want, rel_tol=1e-5) or (math.isnan(got) and math.isnan(want)), (got, want)
        for metric in metrics:
            metric.reset()
        update(metrics, share[rank], named=True)
        for got, want in zip(rows(metrics), expected_rows, strict=True):
            assert got == pytest.approx(want, rel=1e-5, nan_ok=True)
        for metric in metrics:
            metric.reset()
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    metrics = make_metrics()
    update(metrics, range(3))
    shares = [([0, 1], [2]), ([], [0, 1, 2])]
    named = make_metrics()
    update(named, range(3), named=True)
    mp.start_processes(run, (str(tmp_path), shares, values(metrics), rows(named)), nprocs=2, start_method="fork")
