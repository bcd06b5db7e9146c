# SPDX-License-Identifier: Apache-2.0
"""Answer kinds: read from predictions and targets, joined over windows, written as JSON and read back."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from avkit.answers import (
    Answer,
    Caption,
    Choice,
    ChosenStep,
    ClassMask,
    Event,
    Events,
    Gates,
    Heat,
    Mask,
    ModalityLabels,
    Number,
    Scope,
    StepGrid,
    StepLabels,
    Text,
    Values,
)
from avkit.answers.encoding import shorten
from avkit.answers.events import active_stretches
from avkit.batch import Batch, Prediction

GRID = StepGrid(hop=1.0, steps=3, end=2.5)
CLASSES = ["cat", "dog"]
SCOPE = Scope("task", GRID, CLASSES, ["no", "yes"], "is it?")

ANSWERS = [
    Mask("avs", np.random.default_rng(0).random((3, 4, 5), np.float32)),
    ClassMask("avs", np.arange(12).reshape(3, 2, 2) % 3, CLASSES),
    Heat("ssl", np.array([[[0.5, np.nan]]], np.float16)),
    StepLabels("ave", ["", "dog", "dog"], GRID),
    ModalityLabels("avvp", CLASSES, np.eye(3, 2, dtype=bool), np.zeros((3, 2), dtype=bool), GRID),
    Events("davel", [Event("davel", "both", "dog", 0.25, 1.5, 0.75), Event("davel", "both", "cat", 1.0, 2.0)]),
    Gates("davel", np.array([0.5, 0.25, 1], np.float32), np.zeros(3, np.float32), GRID),
    Caption("ra_ssu", ["a dog barks", "", "a cat \N{CAT FACE}"], GRID),
    Choice("avqa", "is it?", "yes", {"yes": 0.9}, [ChosenStep(1, 1.0, 2.0, 1 / 3)], [1], np.ones((1, 4), np.float32)),
    Choice("avqa", "is it?", "yes"),
    Number("count", 2.5),
    Text("story", "Once."),
    Values("open", [{"a": [1, 2], "b": "text"}]),
]


def values(**tensors):
    return Prediction("task", ["a", "b"], tensors)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.kind)
def test_what_is_written_as_json_is_read_back(answer):
    text = json.dumps(answer.to_json(), allow_nan=False)
    record = json.loads(text)
    again = type(answer).from_json(record)
    assert record["kind"] == answer.kind
    assert again == answer
    for name, value in vars(answer).items():
        other = vars(again)[name]
        assert type(other) is type(value)
        if isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
        else:
            assert other == value


def test_kinds_have_names_of_their_own():
    kinds = {type(answer) for answer in ANSWERS}
    assert len({kind.kind for kind in kinds}) == len(kinds)


def test_answers_differ_by_kind_and_content():
    assert Text("a", "x") != Text("a", "y")
    assert Text("a", "x") != Text("b", "x")
    assert Text("a", "x") != "x"
    assert Heat("a", np.zeros((1, 2, 2))) != Mask("a", np.zeros((1, 2, 2)))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.kind)
def test_one_window_is_the_whole(answer):
    assert type(answer).join([answer]) == answer


# --- steps


def test_steps_end_with_the_clip():
    assert [GRID.span(step) for step in range(3)] == [(0, 1), (1, 2), (2, 2.5)]
    longer = StepGrid(hop=1.0, steps=3, end=3.4)
    assert longer.span(2) == (2, 3.4)
    assert StepGrid(hop=1.0, steps=1, end=0.2).span(0) == (0, 0.2)


@pytest.mark.parametrize(("max_steps", "lengths"), [(None, [7]), (7, [7]), (60, [7]), (3, [3, 3, 1]), (1, [1] * 7)])
def test_windows_cover_the_clip(max_steps, lengths):
    grid = StepGrid(hop=0.3, steps=7, end=2.03)
    windows = grid.windows(max_steps)
    assert [window.steps for window in windows] == lengths
    spans = [window.span(step) for window in windows for step in range(window.steps)]
    assert spans == [grid.span(step) for step in range(7)]
    assert windows[-1].indices.stop == 7


# --- reading


def test_maps_are_read_without_padding():
    maps = torch.rand(2, 5, 4, 4)
    mask = Mask.read(values(mask=maps), 1, SCOPE)
    assert mask.maps.shape == (3, 4, 4)
    np.testing.assert_array_equal(mask.maps, maps[1, :3].numpy())
    assert (mask.steps, mask.picture_size) == (3, (4, 4))
    assert Heat.read(values(heat=maps), 0, SCOPE).picture_size is None
    assert Heat.read(values(mask=maps), 0, SCOPE) is None


def test_a_class_needs_a_name():
    labels = torch.zeros(2, 3, 2, 2, dtype=torch.int64)
    assert ClassMask.read(values(class_mask=labels), 0, SCOPE).names == CLASSES
    labels[1, 2] = 3
    with pytest.raises(ValueError, match="maps hold class 3, but names has 2 entries"):
        ClassMask.read(values(class_mask=labels), 1, SCOPE)


def test_labels_become_stretches():
    labels = StepLabels.read(values(event=[["dog", "dog", "cat", "dog"], []]), 0, SCOPE)
    assert labels.labels == ["dog", "dog", "cat"]
    assert [(e.name, e.start, e.end, e.modality, e.score) for e in labels.events()] == [
        ("dog", 0, 2, "both", None),
        ("cat", 2, 2.5, "both", None),
    ]
    assert StepLabels("ave", ["", "", ""], GRID).events() == []
    assert StepLabels("ave", ["", "dog", ""], GRID).step_texts() == ["background", "dog", "background"]


def test_stretches_of_steps():
    grid = StepGrid(hop=1.0, steps=5, end=4.5)
    active = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [1, 0]], dtype=bool)
    events = [(e.name, e.start, e.end) for e in active_stretches("avvp", "seen", ["a", "b"], active, grid)]
    assert events == [("a", 0, 2), ("b", 2, 4), ("a", 3, 4.5)]


def test_modalities_need_the_class_in_the_window():
    scores = torch.tensor([[[0.9, 0.9], [0.4, 0.9], [0.5, 0.1]]])
    prediction = values(audio_scores=scores, visual_scores=1 - scores, clip_scores=torch.tensor([[0.5, 0.49]]))
    labels = ModalityLabels.read(prediction, 0, SCOPE)
    assert labels.audible.tolist() == [[True, False], [False, False], [True, False]]
    assert labels.visible.tolist() == [[False, False], [True, False], [True, False]]
    assert labels.step_texts()[1] == "heard nothing; seen cat"
    assert [(e.modality, e.start, e.end) for e in labels.events()] == [
        ("heard", 0, 1), ("heard", 2, 2.5), ("seen", 1, 2.5)
    ]  # fmt: skip


def test_unlikely_events_are_left_out():
    rows = torch.tensor([[1.0, 2.0, 1.0, 0.25], [0.5, 1.0, 0.0, 0.75], [0.0, 1.0, 0.0, 0.125]])
    events = Events.read(values(event_list=[rows]), 0, SCOPE)
    assert [(e.name, e.start, e.score) for e in events.items] == [("cat", 0.5, 0.75), ("dog", 1.0, 0.25)]
    assert str(events) == "cat 0.5 to 1.0 s, dog 1.0 to 2.0 s"
    assert str(Events("davel")) == "nothing"


def test_captions_are_merged():
    caption = Caption("ra_ssu", ["a", "a", "", "a", "b"], StepGrid(hop=1.0, steps=5, end=4.5))
    assert caption.spans() == [(0, 2, "a"), (3, 4, "a"), (4, 4.5, "b")]


def test_a_choice_keeps_the_likeliest_and_what_it_was_made_of():
    names = [str(number) for number in range(7)]
    scope = Scope("avqa", StepGrid(hop=0.5, steps=4, end=2.0), answers=names, question="how many?")
    prediction = values(
        answer=["5"],
        answer_logits=torch.arange(7.0)[None],
        chosen=torch.tensor([[1, 3]]),
        step_weights=torch.tensor([[0.125, 0.25, 0.125, 0.5]]),
        parts=torch.arange(8.0).reshape(1, 2, 4),
        shown=torch.tensor([[1, 3]]),
    )
    choice = Choice.read(prediction, 0, scope)
    assert list(choice.scores) == ["6", "5", "4", "3", "2"]
    assert choice.scores["6"] == round(float(torch.arange(7.0).softmax(0)[6]), 4)
    assert choice.chosen == [ChosenStep(1, 0.5, 1.0, 0.25), ChosenStep(3, 1.5, 2.0, 0.5)]
    assert choice.key_steps() == [1, 3]
    maps = choice.region_maps([0, 3])
    assert np.isnan(maps[0]).all()
    np.testing.assert_array_equal(maps[1], [[4, 5], [6, 7]])
    choice.region_weights = np.ones((2, 5))
    assert choice.region_maps([0]) is None, "five parts have no place in a square"
    assert Choice("avqa", "?", "no").region_maps([0]) is None


def test_what_a_task_does_not_declare_is_shown_as_values():
    prediction = values(number=torch.tensor([1.0, 2.0]), big=torch.zeros(2, 9, 9), words=[["a"], ["b"]], of=[None, b""])
    answer = Values.read(prediction, 1, SCOPE)
    assert answer.windows == [{"number": 2.0, "big": "float32 (9, 9)", "words": ["b"], "of": "b''"}]
    assert shorten(ANSWERS[0].to_json())["maps"] == "float32 (3, 4, 5)"
    assert shorten({"a": list(range(70))})["a"][-1] == "and 6 more"


# --- true answers


def true_batch(**targets):
    return Batch("task", ["a"], torch.tensor([2.5]), 1.0, torch.ones(1, 3, dtype=torch.bool), targets=targets)


def test_true_answers_are_read_from_targets():
    segments = torch.tensor([[[1, 1], [0, 1], [0, 0]]], dtype=torch.uint8)
    batch = true_batch(
        mask=torch.ones(1, 3, 2, 2, dtype=torch.uint8),
        mask_known=torch.tensor([[True, False, False]]),
        source=torch.zeros(1, 3, 2, 2),
        audio_segments=segments,
        visual_segments=segments,
        events=[torch.tensor([[1.0, 2.0, 1.0], [0.0, 1.0, 0.0]])],
        caption=[["a", "b", "c"]],
        answer=["yes"],
        question_type=["Counting"],
    )
    assert Mask.read_target(batch, 0, SCOPE).maps.dtype == np.uint8
    assert Heat.read_target(batch, 0, SCOPE).steps == 3
    assert StepLabels.read_target(batch, 0, SCOPE).step_texts() == ["cat, dog", "dog", "background"]
    assert ModalityLabels.read_target(batch, 0, SCOPE).step_texts()[0] == "heard cat, dog; seen cat, dog"
    assert [e.name for e in Events.read_target(batch, 0, SCOPE).items] == ["cat", "dog"]
    assert Caption.read_target(batch, 0, SCOPE).texts == ["a", "b", "c"]
    true = Choice.read_target(batch, 0, SCOPE)
    assert (true.question, true.answer, true.question_type) == ("is it?", "yes", "Counting")
    batch.targets["mask_known"][:] = False
    assert Mask.read_target(batch, 0, SCOPE) is None
    assert ClassMask.read_target(batch, 0, SCOPE) is None
    assert Number.read_target(batch, 0, SCOPE) is None


# --- windows


def parts(kind, prediction, max_steps=2):
    """Answers about the windows of a clip, each read from its own rows of a prediction for the whole clip."""
    answers = []
    for window in GRID.windows(max_steps):
        cut = {}
        for name, value in prediction.values.items():
            rows = value if name == "clip_scores" else [row[window.indices] for row in value]
            cut[name] = torch.stack(rows) if isinstance(value, torch.Tensor) and rows is not value else rows
        answers.append(kind.read(Prediction("task", ["a"], cut), 0, Scope("task", window, CLASSES)))
    return answers


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        (Mask, {"mask": torch.rand(1, 3, 2, 2)}),
        (Heat, {"heat": torch.rand(1, 3, 2, 2)}),
        (ClassMask, {"class_mask": torch.randint(3, (1, 3, 2, 2))}),
        (StepLabels, {"event": [["", "dog", "dog"]]}),
        (Caption, {"caption": [["a", "b", "b"]]}),
        (
            ModalityLabels,
            {
                "audio_scores": torch.rand(1, 3, 2),
                "visual_scores": torch.rand(1, 3, 2),
                "clip_scores": torch.ones(1, 2),
            },
        ),
    ],
)
def test_windows_of_steps_are_the_clip(kind, tensors):
    prediction = Prediction("task", ["a"], tensors)
    whole = kind.read(prediction, 0, SCOPE)
    windows = parts(kind, prediction)
    assert len(windows) == 2
    assert kind.join(windows) == whole


def test_a_stretch_over_two_windows_is_one_event():
    joined = StepLabels.join(parts(StepLabels, Prediction("task", ["a"], {"event": [["", "dog", "dog"]]})))
    assert [(e.start, e.end) for e in joined.events()] == [(1, 2.5)]


def test_events_of_windows_have_times_of_the_clip():
    rows = torch.tensor([[0.0, 0.5, 1.0, 0.5]])
    windows = GRID.windows(2)
    answers = [Events.read(values(event_list=[rows]), 0, Scope("davel", window, CLASSES)) for window in windows]
    assert [(e.start, e.end) for e in Events.join(answers[::-1]).items] == [(0, 0.5), (2, 2.5)]


def test_other_kinds_are_joined():
    first = Choice("avqa", "?", "no", {"no": 0.6, "yes": 0.4}, [ChosenStep(0, 0.0, 1.0, 1.0)], [0], np.zeros((1, 4)))
    second = Choice("avqa", "?", "yes", {"yes": 0.9, "no": 0.1}, [ChosenStep(2, 2.0, 3.0, 1.0)], [2], np.ones((1, 4)))
    joined = Choice.join([first, second])
    assert (joined.answer, joined.scores) == ("yes", {"yes": 0.65, "no": 0.35})
    assert joined.key_steps() == joined.region_steps == [0, 2]
    assert joined.region_weights.shape == (2, 4)
    assert Number.join([Number("n", 1.0), Number("n", 4.0)]).number == 2.5
    assert Text.join([Text("t", "One."), Text("t", "Two."), Text("t", "One.")]).text == "One. Two."
    assert Values.join([Values("v", [{"a": 1}]), Values("v", [{"a": 2}])]).windows == [{"a": 1}, {"a": 2}]


# --- a kind from outside


@dataclass(eq=False)
class Loudness(Answer):
    kind: ClassVar[str] = "loudness"
    prediction_values: ClassVar[tuple[str, ...]] = ("level",)

    levels: list[float]

    @classmethod
    def from_values(cls, values, row, scope):
        return cls(scope.task, values["level"][row][: scope.grid.steps].tolist())

    @classmethod
    def join(cls, parts):
        return cls(parts[0].task, [level for part in parts for level in part.levels])


def test_a_kind_from_outside_needs_two_methods():
    prediction = values(level=torch.tensor([[0.5, 0.25, 0.75]]))
    whole = Loudness.read(prediction, 0, SCOPE)
    assert Loudness.join(parts(Loudness, prediction)).levels == whole.levels == [0.5, 0.25, 0.75]
    assert Loudness.from_json(whole.to_json()) == whole
    assert Loudness.read_target(true_batch(), 0, SCOPE) is None
    Loudness.target_fields = ("caption",)
    with pytest.raises(NotImplementedError, match="Loudness names target_fields and does not read them"):
        Loudness.read_target(true_batch(caption=[["a"]]), 0, SCOPE)
    Loudness.target_fields = ()
