# SPDX-License-Identifier: Apache-2.0
"""What people give to metrics is scored right or refused, never taken for something else."""

import random
import traceback

import numpy as np
import pytest
import torch

from avkit.metrics import (
    AnswerAccuracy,
    CaptionScores,
    EventDetectionMAP,
    MaskFScore,
    MaskIoU,
    PairingAccuracy,
    ParsingF1,
    SegmentAccuracy,
    SemanticMask,
    SourceLocalization,
)
from avkit.metrics.avvp import rows_to_segments
from avkit.metrics.inputs import to_labels, to_tensor
from avkit.metrics.mask_scores import f_score, frame_iou, frame_precision_recall
from avkit.metrics.ssl import annotators_to_map, boxes_to_map

MASKS = [MaskIoU, MaskFScore]


@pytest.fixture
def truth():
    """Two clips of two frames with a quarter of each on."""
    target = torch.zeros(2, 2, 8, 8)
    target[..., :4, :4] = 1
    return target


@pytest.mark.parametrize("metric", MASKS)
def test_a_perfect_mask_is_perfect_in_every_form(metric, truth):
    probabilities = 0.01 + 0.98 * truth
    forms = {
        "probabilities": probabilities,
        "logits": torch.logit(probabilities),
        "labels": truth.bool(),
    }
    for form, scores in forms.items():
        scored = metric(form=form)
        scored.update(scores, truth)
        assert float(scored.compute()) == pytest.approx(1, abs=1e-6), form
    for scores in (torch.logit(probabilities), truth.bool(), truth.to(torch.uint8)):  # only one thing each
        scored = metric()
        scored.update(scores, truth)
        assert float(scored.compute()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("metric", MASKS)
def test_probabilities_score_as_the_logits_that_they_come_from(metric):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 16, 16, generator=generator)
    logits[0, 0, 0] = 6e-8  # officially not above a half
    target = torch.rand(3, 4, 16, 16, generator=generator) > 0.7
    from_logits, from_probabilities = metric(form="logits"), metric(form="probabilities")
    from_logits.update(logits, target)
    from_probabilities.update(logits.sigmoid(), target)
    assert from_logits.compute() == from_probabilities.compute()


@pytest.mark.parametrize("metric", MASKS)
def test_masks_of_another_form_are_refused(metric, truth):
    probabilities = 0.01 + 0.98 * truth
    with pytest.raises(ValueError, match=r"scores go from 0.01 to 0.99: they may be probabilities or logits"):
        metric().update(probabilities, truth)
    with pytest.raises(ValueError, match=r"go from 0.01 to 0.99, as probabilities do; they are said to be logits"):
        metric(form="logits").update(probabilities, truth)
    with pytest.raises(ValueError, match=r"go from -9 to 9, outside of \[0, 1\]; they are said to be probabilities"):
        metric(form="probabilities").update(18 * truth - 9, truth)
    with pytest.raises(ValueError, match=r"go from 0 to 255: they are neither probabilities"):
        metric().update(255 * truth, truth)
    with pytest.raises(ValueError, match=r"torch.uint8 from 0 to 255; labels are 0 and 1"):
        metric().update((255 * truth).to(torch.uint8), truth)
    with pytest.raises(ValueError, match="not all 0 or 1; they are said to be labels"):
        metric(form="labels").update(probabilities, truth)
    with pytest.raises(ValueError, match=r"Unknown form 'logit'. Did you mean 'logits'"):
        metric(form="logit")


def test_the_functions_ask_for_the_form_too(truth):
    frames = truth.flatten(0, 1)
    for function in (frame_iou, frame_precision_recall, f_score):
        with pytest.raises(ValueError, match="may be probabilities or logits"):
            function(0.01 + 0.98 * frames, frames)
    assert frame_iou(0.01 + 0.98 * frames, frames, "probabilities").tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("kind", ["numpy", "list", "big-endian", "backwards", "one clip"])
def test_masks_come_in_any_container(kind, truth):
    scores = (0.01 + 0.98 * truth).numpy()
    target = truth.numpy()
    if kind == "list":
        scores, target = scores.tolist(), target.astype(int).tolist()
    elif kind == "big-endian":
        scores = scores.astype(">f4")
    elif kind == "backwards":
        scores, target = scores[::-1], target[::-1]
    elif kind == "one clip":
        scores, target = scores[0], target[0]
    metric = MaskIoU(form="probabilities")
    metric.update(scores, target)
    assert float(metric.compute()) == pytest.approx(1, abs=1e-6)
    assert metric.compute_rows()[""].n == (1 if kind == "one clip" else 2)


def test_what_is_no_array_of_numbers_is_named():
    with pytest.raises(TypeError, match="scores is a str; give a tensor, a numpy array or a list"):
        to_tensor("scores", "dog")
    with pytest.raises(TypeError, match=r"scores holds text, such as 'dog'; give numbers"):
        to_tensor("scores", ["dog", "cat"])
    with pytest.raises(TypeError, match="scores is of complex128; give real numbers"):
        to_tensor("scores", np.ones(2) * 1j)
    with pytest.raises(TypeError, match="target is of object"):
        to_tensor("target", [None, 1])
    with pytest.raises(ValueError, match=r"scores cannot be read as an array .* give rows of equal length"):
        to_tensor("scores", [[1, 2], [3]])
    with pytest.raises(ValueError, match=r"tensors of shapes \[\(1,\), \(2,\)\]; give tensors of one shape"):
        to_tensor("scores", [torch.zeros(1), torch.zeros(2)])
    with pytest.raises(TypeError, match="scores is a int; give a tensor"):
        to_tensor("scores", 3)


CLASSES = ["background", "dog", "frog"]


def test_names_of_classes_are_looked_up():
    assert to_labels("target", [["dog", "", "frog"]], CLASSES).tolist() == [[1, 0, 2]]
    assert to_labels("target", np.array(["frog", "dog"]), CLASSES).tolist() == [2, 1]
    assert to_labels("target", [1, 2], CLASSES).tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"Unknown class 'dgo'\. Did you mean 'dog'\? Known: background, dog, frog"):
        to_labels("target", ["dgo"], CLASSES)
    with pytest.raises(TypeError, match=r"target holds names such as 'dog', and the metric was given no classes"):
        to_labels("target", ["dog"], None)
    with pytest.raises(TypeError, match="target mixes names and other things"):
        to_labels("target", np.array(["dog", 1], dtype=object), CLASSES)


def test_segments_by_name_by_number_and_by_score():
    names = [["dog", "", "frog", "frog"]]
    numbers = np.array([[1, 0, 2, 1]])
    by_name = SegmentAccuracy(classes=CLASSES)
    by_name.update(names, [["dog", "background", "frog", "dog"]])
    assert by_name.compute() == {"accuracy": 0.75}
    by_number = SegmentAccuracy(3)
    by_number.update(np.array([[1, 0, 2, 2]]), numbers)
    assert by_number.compute() == {"accuracy": 0.75}
    by_score = SegmentAccuracy(3, form="probabilities")
    by_score.update(np.eye(3)[[1, 0, 2, 2]][None], numbers.tolist())
    assert by_score.compute() == {"accuracy": 0.75}


def test_segments_that_are_something_else_are_refused():
    scores, target = torch.eye(3)[None], torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match=r"target is torch.float32 with values \[0.0, 1.0, 2.0\]; give integers"):
        SegmentAccuracy(3).update(scores, target.float())
    with pytest.raises(ValueError, match="target has values other than 0 and 1"):
        SegmentAccuracy(3).update(scores, 5 * scores)
    with pytest.raises(ValueError, match=r"scores is torch.bool and not one-hot"):
        SegmentAccuracy(3).update(torch.ones(1, 3, 3, dtype=torch.bool), target)
    with pytest.raises(ValueError, match=r"outside of \[0, 1\]; they are said to be probabilities"):
        SegmentAccuracy(3, form="probabilities").update(9 * scores, target)
    with pytest.raises(ValueError, match=r"scores of segments \(1, 3\) and target of shape \(1, 6\)"):
        SegmentAccuracy(3).update(scores, torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="num_classes=4 and 3 names of classes"):
        SegmentAccuracy(4, classes=CLASSES)
    with pytest.raises(ValueError, match="give a list with each name once"):
        SegmentAccuracy(classes=["dog", "dog"])


def test_answers_in_words():
    metric = AnswerAccuracy(classes=["yes", "no", "two"])
    metric.update(["yes", "two"], ["yes", "no"], ["Audio Counting"] * 2)
    assert metric.compute()["Overall"] == 0.5
    scores = AnswerAccuracy(classes=["yes", "no", "two"])
    scores.update(np.array([[0.9, 0.1, 0.0]]), ["yes"], ["Audio Counting"])
    assert scores.compute()["Overall"] == 1
    with pytest.raises(ValueError, match=r"Unknown answer 'tow'\. Did you mean 'two'"):
        metric.update(["tow"], ["two"], ["Audio Counting"])
    with pytest.raises(TypeError, match="types is the text 'Audio Counting'"):
        metric.update(["two"], ["two"], "Audio Counting")
    with pytest.raises(ValueError, match="integers from 0 to 2"):
        metric.update(np.array([3]), np.array([0]), ["Audio Counting"])
    with pytest.raises(ValueError, match=r"scores is torch.bool and not one-hot"):
        metric.update(torch.ones(1, 3, dtype=torch.bool), torch.tensor([0]), ["Audio Counting"])


def test_class_masks_in_every_form():
    target = torch.tensor([[[[0, 1], [2, 1]]]])
    probabilities = 0.05 + 0.9 * torch.nn.functional.one_hot(target, 3).movedim(-1, 2).float()
    for form, preds in (("probabilities", probabilities), ("logits", probabilities.log()), ("labels", target)):
        metric = SemanticMask(3, form=form)
        metric.update(preds.numpy(), target.numpy().astype(np.uint8))
        assert metric.compute()["mIoU"] == pytest.approx(1), form
    one = SemanticMask(3)
    one.update(target[0].tolist(), target[0])
    assert one.compute()["mIoU"] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"outside of \[0, 1\] or NaN; they are said to be probabilities"):
        SemanticMask(3, form="probabilities").update(9 * probabilities, target)
    with pytest.raises(ValueError, match="are labels; they are said to be logits"):
        SemanticMask(3, form="logits").update(target, target)
    with pytest.raises(ValueError, match="give float scores of every class"):
        SemanticMask(3).update(probabilities > 0.5, target)
    with pytest.raises(ValueError, match=r"target is torch.float32; give integer labels"):
        SemanticMask(3).update(target, target.float())


def test_parsing_in_every_form():
    on = torch.tensor([[[1.0], [0.0]]])
    for form, scores in (("probabilities", 0.9 * on), ("logits", 9 * on - 4), ("labels", on.bool())):
        metric = ParsingF1(1, form=form)
        metric.update(scores.numpy(), scores.tolist(), on.numpy().astype(bool), on)
        assert set(metric.compute().values()) == {1.0}, form
    with pytest.raises(ValueError, match=r"audio has values outside \[0, 1\] or NaN; give probabilities, not logits"):
        ParsingF1(1).update(9 * on - 4, on, on, on)
    with pytest.raises(ValueError, match="video has values outside"):
        ParsingF1(1).update(on, on, on, on, torch.tensor([[4.0]]))
    with pytest.raises(ValueError, match="they are said to be labels"):
        ParsingF1(1, form="labels").update(0.3 * on, on, on, on)
    with pytest.raises(ValueError, match="threshold=50; give a probability"):
        ParsingF1(1, threshold=50)


def test_rows_of_a_video_by_name_and_in_seconds():
    assert rows_to_segments([(0, 2, "frog")], 3, CLASSES)[:, 2].tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"Unknown class 'fro'\. Did you mean 'frog'"):
        rows_to_segments([(0, 2, "fro")], 3, CLASSES)
    with pytest.raises(ValueError, match="goes beyond the 10 segments of one second"):
        rows_to_segments([(0, 250, 1)], 10, 3)  # frames


def test_events_by_name():
    metric = EventDetectionMAP(classes=["dog", "frog"])
    true = {"segments": [[0.0, 2.0]], "labels": ["frog"]}
    metric.update(["a", "b"], [{**true, "scores": [0.9]}, {"segments": [], "labels": [], "scores": []}], [true, true])
    assert metric.compute()["Avg"] == pytest.approx(0.5)
    assert metric.compute_rows()["Avg"].n == 2


def test_events_that_are_something_else_are_refused():
    good = {"segments": np.array([[0.0, 2.0]]), "labels": np.array([0])}
    metric = EventDetectionMAP(classes=["dog", "frog"])
    for change, message in (
        ({"scores": np.array([True])}, "has bool scores, of which all true ones are equal"),
        ({"labels": ["do"]}, r"Unknown class 'do'\. Did you mean 'dog'"),
        ({"labels": np.array([2])}, "give integers from 0 to 1"),
        ({"labels": np.array([0.0])}, "torch.float64 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(["a"], [{**good, "scores": np.array([0.5]), **change}], [good])
    with pytest.raises(ValueError, match=r"has an event until 2 s in a video of 1 s; give seconds, not steps"):
        metric.update(["a"], [{**good, "scores": [0.5]}], [good], durations=[1.0])
    metric.update(["a"], [{**good, "scores": [0.5]}], [good], durations=[2.0])
    with pytest.raises(ValueError, match="Video 'a' was added before; each is scored once"):
        metric.update(["a"], [{**good, "scores": [0.5]}], [good])


def test_heat_of_any_range_and_no_flags():
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    rows = torch.linspace(1, 0, 8)[:, None].expand(8, 8)[None]
    for heat in (rows, 100 * rows - 700, (255 * rows).to(torch.uint8), rows.numpy(), rows.tolist()):
        metric = SourceLocalization(size=8)
        metric.update(heat, target.numpy() > 0)
        assert metric.compute()["cIoU@0.5"] == 1
    with pytest.raises(ValueError, match="preds are bool, of which all true ones are equal; give scores"):
        SourceLocalization(size=8).update(rows > 0.5, target)
    with pytest.raises(ValueError, match=r"give parts of the picture in \[0, 1\], not pixels"):
        boxes_to_map([[10.0, 20.0, 120.0, 200.0]])
    with pytest.raises(ValueError, match=r"give pixels of a picture of 256 x 256, not parts of it in \[0, 1\]"):
        annotators_to_map([[0.1, 0.2, 0.5, 0.9]])


def test_types_of_questions_in_any_spelling():
    metric = AnswerAccuracy()
    types = [["Audio", "Counting"], '["Audio", "Counting"]', "audio counting", "Audio  Counting"]
    metric.update(torch.eye(4), [0, 1, 2, 0], types)
    metric.update(torch.eye(4)[:1], [0], ["AudioVisual counting"])
    assert metric.compute()["Audio Counting"] == 0.75
    assert metric.compute()["Audio-Visual Counting"] == 1


def test_a_video_of_two_states_is_scored_once():
    event = {"segments": [[0.0, 2.0]], "labels": [0], "scores": [0.5]}
    first, second = EventDetectionMAP(), EventDetectionMAP()
    for metric in (first, second):
        metric.update(["a"], [event], [event])
    first.merge_state(second)
    with pytest.raises(ValueError, match="1 videos were added twice, in two processes; give each to one"):
        first.compute()


def anything(pick):
    """An array, tensor or list of some shape and type, or what is none of them."""
    shape = pick.choice([(), (0,), (2,), (2, 3), (2, 3, 3), (2, 3, 4, 4), (2, 3, 3, 4, 4), (2, 8, 8), (2, 0, 3)])
    array = np.random.default_rng(pick.randrange(10**6)).normal(size=shape)
    odd = [None, "dog", {"a": 1}, [[1, 2], [3]], ["dog", 1], [None], b"x", 3, [], object(), [torch.zeros(2), 1]]
    kinds = [
        *(array, array > 0, torch.tensor(array), torch.tensor(array > 0).long(), 1 / (1 + np.exp(-array))),
        *((array > 0).tolist(), np.where(array > 1, np.nan, array), (100 * array).astype(">i4"), ["dog", "cat"]),
        pick.choice(odd),
    ]
    return pick.choice(kinds)


def right_updates():
    """Metrics with arguments of an update that are right."""
    uniform = np.random.default_rng(0).random
    masks = [uniform((2, 3, 4, 4)), uniform((2, 3, 4, 4)) > 0.5, None, ["a", "b"]]
    steps = uniform((2, 3, 3))
    labels = np.ones((2, 3, 4, 4), np.int64)
    regions = uniform((2, 3, 2, 4, 4))
    texts = [[["a dog", "a cat"]] * 3] * 2
    known = np.ones((2, 3, 2), bool)
    return [
        (lambda: MaskIoU(form="probabilities"), masks),
        (lambda: MaskFScore(variant="clean", form="probabilities"), masks),
        (lambda: SemanticMask(3), [uniform((2, 3, 3, 4, 4)), labels, None, ["a", "b"]]),
        (lambda: SegmentAccuracy(3), [steps, labels[:, :, 0, 0], None, ["a", "b"]]),
        (AnswerAccuracy, [uniform((2, 3)), [0, 2], ["Audio Counting"] * 2, ["a", "b"]]),
        (lambda: ParsingF1(3), [steps, steps, steps > 0.5, steps > 0.5, uniform((2, 3)), None, ["a", "b"]]),
        (lambda: SourceLocalization(size=8), [uniform((2, 5, 5)), np.ones((2, 8, 8)), ["a", "b"]]),
        (lambda: PairingAccuracy(form="probabilities"), [regions, texts, regions > 0.5, texts, known, ["a", "b"]]),
        (lambda: CaptionScores("plain", meteor=False), [["a dog", "a cat"], ["a dog", ["a cow"]], ["a", "b"], [0, 1]]),
    ]


def refusal(metric, arguments):
    """The error of an update, None if it was accepted."""
    try:
        metric.update(*arguments)
    except (ValueError, TypeError) as error:
        return error
    return None


@pytest.mark.parametrize("seed", range(4))
def test_anything_is_scored_or_refused_in_words_and_leaves_nothing_half_added(seed):
    pick = random.Random(seed)
    refused = 0
    for _ in range(150):
        make, right = pick.choice(right_updates())
        metric = make()
        error = refusal(metric, [anything(pick) if pick.random() < 0.3 else value for value in right])
        rows = metric.compute_rows().values()
        if error is not None:
            refused += 1
            assert "avkit" in traceback.extract_tb(error.__traceback__)[-1].filename, error
            assert {row.n for row in rows} == {0}, error
    assert 30 < refused < 140
