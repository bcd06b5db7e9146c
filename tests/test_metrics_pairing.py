# SPDX-License-Identifier: Apache-2.0
"""Pairing accuracy against hand cases and a plain form."""

import itertools
import random

import numpy as np
import pytest
import torch

from avkit.metrics import PairingAccuracy
from avkit.metrics.functional import pairing_accuracy
from avkit.metrics.pairing import match_sources, word_overlap

DOG, BELL, BIRD = "a red dog barks on the left", "a blue bell rings at the top", "a small bird sings"
#: Three columns of a picture, one for each source.
COLUMNS = torch.eye(3)[None, None, :, None, :].expand(1, 1, 3, 2, 3)


def score(masks, sentences, targets=COLUMNS, references=(DOG, BELL, BIRD), **options):
    return pairing_accuracy(masks, [[list(sentences)]], targets, [[list(references)]], form="labels", **options)


def test_right_sentences_with_right_masks_are_all_right():
    assert score(COLUMNS, [DOG, BELL, BIRD]) == pytest.approx({"accuracy": 1, "chance": 1 / 3, "IoU": 1})
    assert score(COLUMNS.flip(2), [BIRD, BELL, DOG])["accuracy"] == 1, "the order of predictions says nothing"


@pytest.mark.parametrize(
    ("sentences", "accuracy"),
    [
        ([BELL, DOG, BIRD], 1 / 3),
        ([BELL, BIRD, DOG], 0),
        ([DOG, DOG, DOG], 1 / 3),
        (["dog", "bell", ""], 2 / 3),
        (["zebra"] * 3, 1 / 3),
        ([" "] * 3, 0),
    ],
)
def test_sentences_with_other_masks(sentences, accuracy):
    assert score(COLUMNS, sentences)["accuracy"] == pytest.approx(accuracy)


def test_a_tie_counts_as_guessing_would():
    same = score(COLUMNS, [DOG, BELL, BIRD], references=(DOG, DOG, BIRD))
    assert same["accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_sources_without_a_mask_count_as_wrong():
    one = score(COLUMNS[:, :, :1], [DOG])
    assert one == pytest.approx({"accuracy": 1 / 3, "chance": 1 / 3, "IoU": 1 / 3})
    beside = torch.zeros(1, 1, 3, 2, 3)
    assert score(beside, [DOG, BELL, BIRD]) == pytest.approx({"accuracy": 0, "chance": 1 / 3, "IoU": 0})
    assert score(beside[:, :, :0], [])["accuracy"] == 0


def test_steps_of_one_source_count_for_the_overlap_alone():
    targets = COLUMNS.clone()
    targets[:, :, 1:] = 0
    one = score(COLUMNS, [DOG, BELL, BIRD], targets)
    assert np.isnan(one["accuracy"])
    assert one["IoU"] == 1
    silent = score(COLUMNS, [DOG, BELL, BIRD], torch.zeros_like(COLUMNS))
    assert np.isnan(list(silent.values())).all()


def test_sources_that_are_not_annotated_or_not_described_are_no_pairs():
    known = torch.tensor([[[True, True, False]]])
    assert score(COLUMNS, [DOG, BELL, DOG], valid=known) == pytest.approx({"accuracy": 1, "chance": 0.5, "IoU": 1})
    undescribed = score(COLUMNS, [BELL, DOG, DOG], references=(DOG, BELL, ""))
    assert undescribed == pytest.approx({"accuracy": 0, "chance": 0.5, "IoU": 1})


def test_masks_are_matched_for_the_greatest_sum():
    overlap = np.array([[0.6, 0.5], [0.55, 0.1]])
    assert [(match.source, match.prediction) for match in match_sources(overlap)] == [(0, 1), (1, 0)]
    assert [(match.source, match.prediction) for match in match_sources(overlap.T[:, :1])] == [(0, 0)]
    assert match_sources(np.zeros((2, 3))) == []
    assert match_sources(np.zeros((2, 0))) == []


def plain(masks, sentences, targets, references):
    """The figures by loops over all ways to match."""
    right, paired, steps, ious = 0.0, 0, 0, []
    for clip, step in itertools.product(range(len(masks)), range(masks.shape[1])):
        sounding = [k for k in range(targets.shape[2]) if targets[clip, step, k].any()]
        overlap = np.zeros((len(sounding), masks.shape[2] + len(sounding)))
        for row, k in enumerate(sounding):
            for j in range(masks.shape[2]):
                one, other = targets[clip, step, k] > 0, masks[clip, step, j] > 0.5
                overlap[row, j] = (one & other).sum() / (one | other).sum()
        best = max(
            itertools.permutations(range(overlap.shape[1]), len(sounding)),
            key=lambda columns: sum(overlap[row, column] for row, column in enumerate(columns)),
        )
        for row, column in enumerate(best):
            ious.append(overlap[row, column])
        if len(sounding) < 2:
            continue
        steps += 1
        paired += len(sounding)
        true = [references[clip][step][k] for k in sounding]
        for row, column in enumerate(best):
            if overlap[row, column] == 0 or not sentences[clip][step][column]:
                continue
            near = [word_overlap(sentences[clip][step][column], text) for text in true]
            right += (near[row] == max(near)) / near.count(max(near))
    return [right / paired, steps / paired, float(np.mean(ious))]


def test_it_is_the_plain_form():
    pick = random.Random(0)
    words = ["a", "red", "blue", "dog", "bell", "barks", "rings", "on", "left", "right"]

    def of_step(count):
        return [" ".join(pick.sample(words, pick.randrange(6))) for _ in range(count)]

    def texts(count):
        return [[of_step(count) for _ in range(5)] for _ in "abcd"]

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(4, 5, 2, 6, 6, generator=generator)
    sounding = torch.rand(4, 5, 3, 1, 1, generator=generator) > 0.3
    targets = (torch.rand(4, 5, 3, 6, 6, generator=generator) > 0.6) & sounding
    sentences, references = texts(2), texts(3)
    references = [[[text or "it" for text in step] for step in clip] for clip in references]
    metric = PairingAccuracy(form="probabilities")
    for row in range(4):  # one by one and at once
        part = slice(row, row + 1)
        metric.update(masks[part], sentences[part], targets[part], references[part], clips=[str(row)])
    together = pairing_accuracy(masks, sentences, targets, references, form="probabilities")
    assert list(together.values()) == pytest.approx(plain(masks.numpy(), sentences, targets.numpy(), references))
    assert metric.compute() == pytest.approx(together)
    rows = metric.compute_rows()
    assert rows["accuracy"].n == 4
    assert rows["accuracy"].low <= rows["accuracy"].value <= rows["accuracy"].high


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masks": COLUMNS[0]}, "differ in the number of sources alone"),
        ({"target_masks": 2 * COLUMNS}, "target_masks has values other than 0 and 1"),
        ({"target_masks": COLUMNS[..., :2]}, r"\(1, 1, 3, 2, 3\) and target_masks of shape \(1, 1, 3, 2, 2\)"),
        ({"sentences": [[[DOG] * 4]]}, "sentences has 4 sources and the masks have 3"),
        ({"sentences": [[[DOG]], [[DOG]]]}, "sentences has 2 clips and the masks have 1"),
        ({"sentences": [[DOG]]}, "sentences holds a str in place of a list of sources"),
        ({"target_sentences": [[[DOG, 3]]]}, "target_sentences holds 3, a int; give texts"),
        ({"valid": torch.ones(1, 1, dtype=torch.bool)}, r"give a bool tensor \(B, T, K\), here \(1, 1, 3\)"),
        ({"masks": COLUMNS.clone() * float("nan")}, "hold NaN"),
        ({"clips": ["a", "b"]}, "2 clips for 1 rows"),
    ],
)
def test_bad_inputs_are_refused_in_one_line(arguments, message):
    metric = PairingAccuracy(form="labels")
    right = {"masks": COLUMNS, "sentences": [[[DOG]]], "target_masks": COLUMNS, "target_sentences": [[[DOG]]]}
    with pytest.raises((ValueError, TypeError), match=message) as error:
        metric.update(**(right | arguments))
    assert "\n" not in str(error.value)
    assert metric.compute_rows()["IoU"].n == 0


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="Unknown form 'label'"):
        PairingAccuracy(form="label")
