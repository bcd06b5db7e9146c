# SPDX-License-Identifier: Apache-2.0
"""Sources kept apart: a mask and a sentence for each; joined they are the targets of all that sounds."""

import json

import numpy as np
import pytest
import torch
from clips import tone, write_clip
from PIL import Image

from avkit.cli import main
from avkit.collate import collate, crop
from avkit.datasets import find_dataset
from avkit.datasets.manifest import Manifest
from avkit.datasets.scenes import Scenes
from avkit.errors import DataError
from avkit.text.joining import join_sentences

FIELDS = frozenset({"mask", "mask_known", "caption", "source_mask", "source_known", "source_caption"})
SIDE = 32


def video(path, seconds=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, [k / 4 for k in range(4 * seconds)], 4, sound=tone(seconds, 16_000))


def halves(left=0, right=0):
    values = np.zeros((48, 64), np.uint8)
    values[:, :32] = left
    values[:, 32:] = right
    return values


def draw(path, left=0, right=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(halves(left, right)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    video(folder / "a.mp4")
    draw(folder / "both.png", 1, 2)
    draw(folder / "one.png", 0, 2)
    draw(folder / "other.png", 1, 3)
    return folder


SOURCES = [{"source": 1, "label": "dog"}, {"source": 2, "label": "bell"}]
LINE = {
    "id": "a",
    "video": "a.mp4",
    "split": "train",
    "sources": SOURCES,
    "masks": [{"step": 0, "file": "both.png"}, {"step": 1, "file": "one.png"}],
    "captions": [
        {"text": "a bell rings", "source": 2},
        {"text": "a dog barks", "source": 1, "end": 1},
    ],
}


def manifest(root, *lines):
    path = root / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Manifest(path, split="train", image_size=SIDE)


def check_joined(targets):
    assert torch.equal(targets["source_mask"].any(1).to(torch.uint8), targets["mask"])
    assert torch.equal(targets["source_known"].any(1), targets["mask_known"])
    assert [join_sentences(step) for step in targets["source_caption"]] == targets["caption"]


def test_sources_of_a_manifest_joined_are_its_mask_and_caption(root):
    targets = manifest(root, LINE).item(0, FIELDS).targets
    check_joined(targets)
    assert targets["source_mask"].shape == (3, 2, SIDE, SIDE)
    assert targets["source_caption"] == [["a bell rings", "a dog barks"], ["a bell rings", ""], ["a bell rings", ""]]
    assert targets["source_known"].tolist() == [[True, True], [True, True], [False, False]]
    bell, dog = targets["source_mask"][0]
    assert bell[:, : SIDE // 2].max() == 0
    assert bell[:, SIDE // 2 :].min() == 1
    assert torch.equal(bell + dog, torch.ones_like(bell))
    assert targets["source_mask"][1, 1].max() == 0


def test_classes_of_masks_serve_where_there_is_no_list_of_sources(root):
    line = {key: value for key, value in LINE.items() if key != "sources"}
    classes = {"1": "dog", "2": "bell", "7": "never drawn", "9": None}
    line["masks"] = [{**mask, "classes": classes} for mask in LINE["masks"]]
    with_list, without = manifest(root, LINE).item(0, FIELDS), manifest(root, line).item(0, FIELDS)
    for name, value in with_list.targets.items():
        other = without.targets[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_a_sentence_about_all_is_about_the_only_source_while_it_sounds(root):
    line = {**LINE, "sources": [SOURCES[1]], "captions": "a bell rings"}
    line["masks"] = [{"step": 0, "file": "one.png"}, {"step": 1, "file": "empty.png"}]
    draw(root / "empty.png")
    targets = manifest(root, line).item(0, FIELDS).targets
    assert targets["source_caption"] == [["a bell rings"], [""], ["a bell rings"]]
    assert targets["caption"] == ["a bell rings"] * 3


def test_clips_of_other_counts_of_sources_stand_in_one_batch(root):
    line = {"id": "b", "video": "a.mp4", "split": "train", "captions": "quiet"}
    data = manifest(root, LINE, line)
    assert data.provides >= FIELDS
    batch = collate([data.item(0, FIELDS), data.item(1, FIELDS)], "ra_ssu")
    assert batch.targets["source_mask"].shape == (2, 3, 2, SIDE, SIDE)
    assert batch.targets["source_mask"].dtype == torch.uint8
    assert not batch.targets["source_known"][1].any()
    assert batch.targets["source_caption"][1] == [[], [], []]
    part = crop(data.item(0, FIELDS), 1, 2)
    check_joined(part.targets)
    assert part.targets["source_caption"] == [["a bell rings", ""]] * 2


def test_sources_are_read_only_where_they_are_asked_for(root):
    data = manifest(root, LINE)
    assert sorted(data.item(0, frozenset({"mask", "caption"})).targets) == ["caption", "mask"]
    unnamed = {**LINE, "id": "b", "masks": [{"step": 0, "file": "both.png"}]}
    del unnamed["sources"]
    unnamed["captions"] = "both"
    data = manifest(root, LINE, unnamed)
    assert "source_mask" not in data.provides
    with pytest.raises(DataError, match="'captions' and masks whose values all have a class"):
        manifest(root, unnamed).indices(frozenset({"source_mask"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": [SOURCES[0], SOURCES[0]]}, r"'sources\[1\].source': 1 is there twice"),
        ({"sources": []}, "2 is no pixel value"),
        ({"sources": [{"source": 0, "label": "dog"}]}, r"sources\[0\].source"),
        ({"sources": SOURCES[:1]}, "2 is none of 'sources', which are 1"),
        (
            {"masks": [{"step": 0, "file": "both.png", "classes": {"1": "cat", "2": "bell"}}]},
            "1 is 'cat' here, and 'dog' by 'sources'",
        ),
        (
            {"masks": [{"step": 0, "file": "both.png", "classes": {"1": "dog", "5": "cat"}}]},
            "5 is 'cat' here, and no source by 'sources'",
        ),
        ({"masks": [{"step": 0, "file": "both.png", "foreground": [1]}]}, "leave out one of the two"),
    ],
)
def test_sources_that_contradict_themselves_are_refused(root, change, message):
    with pytest.raises(DataError, match=message):
        manifest(root, {**LINE, **change})


def test_a_clip_in_which_nothing_sounds_has_an_empty_list_of_sources(root):
    line = {**LINE, "sources": [], "captions": "it is quiet"}
    draw(root / "empty.png")
    targets = manifest(root, {**line, "masks": [{"step": 0, "file": "empty.png"}]}).item(0).targets
    assert targets["source_mask"].shape == (3, 0, SIDE, SIDE)
    assert targets["class_mask"].max() == 0
    with pytest.raises(DataError, match="have the value 1, and the sources of the clip are none"):
        manifest(root, {**line, "masks": [{"step": 0, "file": "both.png"}]}).item(0)


def test_masks_that_contradict_sources_are_found_by_the_check(root, capsys):
    other = {**LINE, "masks": [{"step": 0, "file": "other.png"}]}
    with pytest.raises(DataError, match="1536 pixels have the value 3, and the sources of the clip are 1, 2"):
        manifest(root, other).item(0)
    assert main(["check", str(root / "manifest.jsonl")]) == 1
    assert "have the value 3, and the sources of the clip are 1, 2" in " ".join(capsys.readouterr().out.split())
    manifest(root, {**LINE, "masks": [{"step": 0, "file": "one.png"}]})
    main(["check", str(root / "manifest.jsonl")])
    assert "no mask has a pixel of 1, 'dog'" in " ".join(capsys.readouterr().out.split())


def test_sources_of_a_folder_of_f_music(tmp_path):
    clip = tmp_path / "clips/c"
    video(clip / "video.mp4")
    facts = {"name": "f-music", "version": 1, "fps": 4, "size": [64, 48], "classes": ["flute", "violin"]}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/train.txt").write_text("c\n")
    sources = [{"source": 1, "label": "violin"}, {"source": 2, "label": "violin"}]
    (clip / "meta.json").write_text(json.dumps({"kind": "single", "num_frames": 12, "sources": sources}))
    for frame, (left, right) in enumerate([(1, 2), (0, 2), (0, 0)]):
        draw(clip / f"masks/{4 * frame + 2:05d}.png", left, right)
    sentences = [(0, 2, "the right one plays"), (0, 1, "the left one plays"), (4, 1, ""), (8, 2, "")]
    lines = [json.dumps({"frame": f, "source": s, "text": t}) + "\n" for f, s, t in sentences]
    (clip / "captions.jsonl").write_text("".join(lines))
    data = find_dataset("f-music")(tmp_path, "train", SIDE)
    targets = data.item(0, FIELDS).targets
    check_joined(targets)
    assert targets["source_mask"].flatten(2).any(2).tolist() == [[True, True], [False, True], [False, False]]
    assert targets["source_caption"] == [
        ["the left one plays", "the right one plays"],
        ["", "the right one plays"],
        ["", ""],
    ]


def test_sources_of_scenes_are_what_their_mask_and_caption_are_made_of():
    data = Scenes("val", size=24, image_size=48)
    several = 0
    for index in range(24):
        targets = data.item(index, FIELDS | {"class_mask"}).targets
        assert torch.equal(targets["source_mask"].any(1).to(torch.uint8), targets["mask"])
        assert int(targets["source_mask"].sum(1).max() if targets["source_mask"].shape[1] else 0) <= 1
        assert targets["source_known"].all()
        for step, (captions, caption) in enumerate(zip(targets["source_caption"], targets["caption"], strict=True)):
            own = [text for text in captions if text]
            for text, mask in zip(captions, targets["source_mask"][step], strict=True):
                assert text or not mask.any()
            assert not own or any(caption.startswith(text) for text in own)
            several += len(own) > 1
            if len(own) == 2:
                first, second = own if caption.startswith(own[0]) else own[::-1]
                words = second.split()  # a large red drum rolls on the left -> while a red drum rolls
                assert " ".join(words[3:5]) in caption[len(first) :]
                assert " while " in caption[len(first) :]
    assert several > 10
