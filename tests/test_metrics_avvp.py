# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from golden import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from avkit.metrics import ParsingF1
from avkit.metrics.avvp import event_counts, f_scores, parse, rows_to_segments, segment_counts


def track(text):
    """Segments of one class, `.##.`, as bool (1, T, 1)."""
    return torch.tensor([c == "#" for c in text])[None, :, None]


@pytest.mark.parametrize(
    ("predicted", "true", "counts"),
    [
        ("..........", "..........", (0, 0, 0)),
        ("####......", "####......", (1, 0, 0)),
        ("##........", "####......", (1, 0, 0)),  # an IoU of exactly a half counts
        ("#.........", "####......", (0, 1, 1)),
        ("##########", "###...####", (0, 1, 2)),
        ("#.#.#.#.#.", "#.#.#.#.#.", (5, 0, 0)),
        (".........#", ".........#", (1, 0, 0)),
        ("###.......", ".....###..", (0, 1, 1)),
        ("##########", "######.###", (1, 0, 1)),
        ("######.###", "##########", (1, 1, 0)),
    ],
)
def test_events_by_hand(predicted, true, counts):
    assert tuple(event_counts(track(predicted), track(true))[0, 0].tolist()) == counts


def slow_events(predicted, true):
    def runs(row):
        out, start = [], None
        for t, on in enumerate([*row, False]):
            if on and start is None:
                start = t
            elif not on and start is not None:
                out.append((start, t))
                start = None
        return out

    def good(a, b):
        shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
        return 2 * shared >= (a[1] - a[0]) + (b[1] - b[0]) - shared

    p, t = runs(predicted), runs(true)
    right = sum(any(good(a, b) for b in t) for a in p)
    return right, len(p) - right, sum(not any(good(a, b) for a in p) for b in t)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14))
def test_events_equal_the_plain_way(pairs):
    p, t = zip(*pairs, strict=True)
    counts = event_counts(torch.tensor(p)[None, :, None], torch.tensor(t)[None, :, None])
    assert tuple(counts[0, 0].tolist()) == slow_events(p, t)


def test_a_video_with_nothing_scores_one_and_classes_are_averaged():
    nothing = torch.zeros(1, 4, 2, dtype=torch.bool)
    assert f_scores(segment_counts(nothing, nothing)).item() == 1
    predicted = torch.tensor([[[1, 1], [1, 0]]], dtype=torch.bool)
    true = torch.tensor([[[1, 0], [1, 0]]], dtype=torch.bool)
    assert f_scores(segment_counts(predicted, true)).item() == 0.5  # 1 and 0, not the pooled 4/5


def test_probabilities_at_the_threshold_count_and_the_video_gates():
    assert parse(torch.tensor([[0.5, 0.49]]), torch.tensor([0.5, 0.9])).tolist() == [[True, False]]
    assert parse(torch.tensor([[0.9, 0.9]]), torch.tensor([0.4, 0.5])).tolist() == [[False, True]]
    assert parse(torch.tensor([[0.5]], dtype=torch.float16)).tolist() == [[True]]


def test_rows_merge_and_are_cut_to_seconds():
    segments = rows_to_segments([(0, 3, 1), (2.9, 5.7, 1), (9, 10, 0)], 10, 2)
    assert segments[:, 1].tolist() == [True] * 5 + [False] * 5
    assert segments[:, 0].tolist() == [False] * 9 + [True]
    with pytest.raises(ValueError, match="names class 2; classes go from 0 to 1"):
        rows_to_segments([(0, 1, 2)], 10, 2)
    with pytest.raises(ValueError, match="0 <= onset <= offset"):
        rows_to_segments([(3, 1, 0)], 10, 2)


def example(seed, videos=6, steps=10, classes=4):
    generator = torch.Generator().manual_seed(seed)
    audio, visual = (torch.rand(videos, steps, classes, generator=generator) for _ in range(2))
    target = [torch.rand(videos, steps, classes, generator=generator) > 0.6 for _ in range(2)]
    return audio, visual, *target, torch.rand(videos, classes, generator=generator)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from(["official", "micro", "macro"]))
def test_order_batches_and_padding_change_nothing(seed, cut, variant):
    given_ = example(seed)
    whole, parts = ParsingF1(4, variant), ParsingF1(4, variant)
    whole.update(*given_)
    for rows in torch.randperm(6, generator=torch.Generator().manual_seed(seed)).split(cut):
        audio, visual, true_a, true_v, video = (x[rows] for x in given_)
        pad = torch.ones(len(rows), 3, 4)
        valid = torch.arange(13).expand(len(rows), 13) < 10
        longer = [torch.cat([x, pad.to(x.dtype)], 1) for x in (audio, visual, true_a, true_v)]
        parts.update(*longer, video, valid)
    assert parts.compute() == pytest.approx(whole.compute(), abs=1e-12)
    assert all(0 <= v <= 1 for v in whole.compute().values())
    perfect = ParsingF1(4, variant)
    perfect.update(given_[2].float(), given_[3].float(), given_[2], given_[3])
    assert set(perfect.compute().values()) == {1.0}


def test_variants_differ_and_type_is_the_mean():
    values = {}
    for variant in ("official", "micro", "macro"):
        metric = ParsingF1(4, variant)
        metric.update(*example(1))
        values[variant] = metric.compute()
        assert metric.compute()["segment/Type"] == pytest.approx(
            sum(metric.compute()[f"segment/{k}"] for k in ("A", "V", "AV")) / 3
        )
    assert len({v["segment/A"] for v in values.values()}) == 3
    assert np.isnan(ParsingF1(4).compute()["event/Event"])


def test_errors_say_what_to_do():
    audio, visual, true_a, true_v, video = example(0)
    metric = ParsingF1(4)
    with pytest.raises(ValueError, match=r"visual \(6, 9, 4\).* all four must be \(B, T, 4\)"):
        metric.update(audio, visual[:, :9], true_a, true_v)
    with pytest.raises(ValueError, match=r"audio has values outside .* not logits"):
        metric.update(audio * 3, visual, true_a, true_v)
    with pytest.raises(ValueError, match="visual has values outside"):
        metric.update(audio, visual * torch.nan, true_a, true_v)
    with pytest.raises(ValueError, match=r"video has shape \(6, 3\); give \(6, 4\)"):
        metric.update(audio, visual, true_a, true_v, video[:, :3])
    with pytest.raises(ValueError, match="target_visual has values other than 0 and 1"):
        metric.update(audio, visual, true_a, true_v.long() * 2)
    with pytest.raises(ValueError, match=r"valid is torch.bool of shape \(6,\); give .* here \(6, 10\)"):
        metric.update(audio, visual, true_a, true_v, None, torch.ones(6, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"Unknown variant 'oficial'. Did you mean 'official'"):
        ParsingF1(variant="oficial")


@pytest.mark.parametrize("case", golden_cases("metrics/avvp"))
def test_golden(case):
    data = np.load(case.with_suffix(".npz"))
    segments = torch.from_numpy(data["frame_prob"])
    videos, steps, _, classes = segments.shape
    video = torch.from_numpy(data["video_prob"])
    target = [torch.from_numpy(data[f"gt_{m}"]).transpose(1, 2) for m in ("audio", "visual")]
    for modality, name in enumerate(("audio", "visual")):
        rows = data[f"rows_{name}"].tolist()
        for i in range(videos):
            made = rows_to_segments([(a, b, c) for v, a, b, c in rows if v == i], steps, classes)
            assert torch.equal(made, target[modality][i].bool())
    metric = ParsingF1(classes)
    for part in torch.arange(videos).split(50):
        metric.update(segments[part, :, 0], segments[part, :, 1], target[0][part], target[1][part], video[part])
    names = {"A": "audio", "V": "visual", "AV": "audio_visual", "Type": "type_at_av", "Event": "event_at_av"}
    for key, value in metric.compute().items():
        level, kind = key.split("/")
        assert 100 * value == pytest.approx(float(data[f"official_{level}_{names[kind]}"]), abs=1e-9), key
    a, v = (parse(segments[:, :, m], video) for m in (0, 1))
    one, other = (t.bool() for t in target)
    for level, count in (("segment", segment_counts), ("event", event_counts)):
        of_audio, of_visual = count(a, one), count(v, other)
        kinds = [of_audio, of_visual, of_audio + of_visual, count(a & v, one & other)]
        mine = torch.stack([f_scores(c) for c in kinds], 1)
        np.testing.assert_allclose(mine, data[f"official_{level}_per_video"], atol=1e-9)
