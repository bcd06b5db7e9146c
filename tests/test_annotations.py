# SPDX-License-Identifier: Apache-2.0
"""Annotations as typed records: keywords, nested dictionaries, and what they provide."""

import copy
import pickle
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from avkit.datasets.annotation_fields import FIELDS_BY_KEY, SOURCE_FIELDS
from avkit.datasets.annotations import (
    Annotation,
    BoxAnnotation,
    CaptionAnnotation,
    EventAnnotation,
    MaskAnnotation,
    QuestionAnnotation,
    annotation_texts,
)
from avkit.datasets.manifest import SCHEMA
from avkit.datasets.ra_ssu import RegionAnnotation
from avkit.fields import FIELDS

ROOT = Path("/data")
RECORDS = {
    "masks": MaskAnnotation,
    "captions": CaptionAnnotation,
    "questions": QuestionAnnotation,
    "events": EventAnnotation,
    "boxes": BoxAnnotation,
}


def annotation(**keywords):
    return Annotation(id="a", where="table.csv, row 3", root=ROOT, **keywords)


def from_dict(**values):
    return Annotation.from_dict({"id": "a"} | values, "table.csv, row 3", ROOT)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: annotation(event=[]), "Annotation: Unknown key 'event'. Did you mean 'events'?"),
        (lambda: EventAnnotation(lable="dog"), "EventAnnotation: Unknown key 'lable'. Did you mean 'label'?"),
        (lambda: BoxAnnotation(stepp=0, box=[0, 0, 1, 1]), "BoxAnnotation: Unknown key 'stepp'. Did you mean 'step'?"),
        (lambda: EventAnnotation(start=1), "missing 1 required keyword-only argument: 'label'"),
    ],
)
def test_a_wrong_keyword_names_the_nearest(build, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        build()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"event": []}, "table.csv, row 3: Annotation: Unknown key 'event'. Did you mean 'events'?"),
        (
            {"events": [{"label": "a"}, {"lable": "b", "label": "b"}]},
            "table.csv, row 3, field 'events[1]': EventAnnotation: Unknown key 'lable'. Did you mean 'label'?",
        ),
        ({"boxes": [{"step": 0}]}, "table.csv, row 3, field 'boxes[0]': the key 'box' is missing"),
    ],
)
def test_a_wrong_key_of_a_dictionary_names_its_place_and_the_nearest(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_dict(**values)
    with pytest.raises(ValueError, match="the key 'id' is missing"):
        Annotation.from_dict({}, "table.csv, row 3", ROOT)


def test_dictionaries_and_keywords_give_the_same_annotation():
    values = {
        "video": "a.mp4",
        "events": [{"start": 1, "label": "dog", "modality": "audio"}],
        "questions": [{"question": "what?", "answer": "dog", "type": "Which", "choices": ["dog", "cat"]}],
        "boxes": [{"step": 0, "box": [0, 0, 1, 1]}],
        "masks": [{"time": 0.5, "file": "a.png", "classes": {"1": "dog", "2": None}}],
        "captions": "a dog barks",
        "labels": ["cat"],
    }
    built = annotation(
        video="a.mp4",
        events=[EventAnnotation(start=1, label="dog", modality="audio")],
        questions=[QuestionAnnotation(question="what?", answer="dog", type="Which", choices=["dog", "cat"])],
        boxes=[BoxAnnotation(step=0, box=[0, 0, 1, 1])],
        masks=[MaskAnnotation(time=0.5, file="a.png", classes={"1": "dog", "2": None})],
        captions=[CaptionAnnotation(text="a dog barks")],
        labels=["cat"],
    )
    assert from_dict(**values) == built
    assert built.class_names == {"dog", "cat"}
    assert annotation_texts([built]) == ["what?", "a dog barks"]
    assert built.fields == frozenset().union(*FIELDS_BY_KEY.values()) | SOURCE_FIELDS | {"choices"}
    assert built.media == "a"


def test_what_is_not_known_is_not_provided():
    assert annotation().fields == frozenset()
    assert annotation(events=[]).fields == FIELDS_BY_KEY["events"]
    assert annotation(masks=[MaskAnnotation(step=0, file="a.png")]).fields == FIELDS_BY_KEY["masks"] - {"class_mask"}
    assert "choices" not in annotation(questions=[QuestionAnnotation(question="q", answer="a")]).fields


def test_records_can_be_copied_and_sent_to_processes():
    clip = RegionAnnotation(id="a", where="w", root=ROOT, fps=30.0, events=[EventAnnotation(label="dog")])
    for twin in (copy.deepcopy(clip), pickle.loads(pickle.dumps(clip)), replace(clip)):
        assert twin == clip
    assert replace(clip, masks=[]).masks == []


def test_every_key_of_a_manifest_is_an_attribute():
    assert SCHEMA["properties"].keys() <= {field.name for field in fields(Annotation)}
    for key, record in RECORDS.items():
        schema = SCHEMA["properties"][key]
        items = next(part["items"] for part in [schema, *schema.get("anyOf", [])] if "items" in part)
        assert items["properties"].keys() <= {field.name for field in fields(record)}, key


def test_keys_provide_declared_fields():
    for key, names in FIELDS_BY_KEY.items():
        assert names <= FIELDS.keys(), key
