# SPDX-License-Identifier: Apache-2.0
"""Scenes written in every official layout, and read again: the targets that are read are those of the scene."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from avkit.collate import collate
from avkit.datasets import find_dataset
from avkit.datasets.avsbench_avss import AVSBenchAVSS
from avkit.errors import DataError
from avkit.export import export
from avkit.export.base import scene_of
from avkit.export.names import AVE, AVSS, LLP, MUSIC_AVQA, S4
from avkit.media.mel import EXAMPLE_SAMPLES, cut_steps, log_mel
from avkit.scenes import CLASSES, render, sample_question, sample_scene
from avkit.scoring.truth import TruthOptions, open_truth

PICTURE = 32
COUNTS = {"train": 2, "val": 1, "test": 3}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that exports a layout once."""
    made = {}

    def folder(layout):
        if layout not in made:
            counts = dict.fromkeys(COUNTS, 1) if layout == "ra-ssu" else COUNTS  # 300 masks a clip
            made[layout] = export(layout, tmp_path_factory.mktemp("out") / layout, counts, PICTURE, fps=4)
        return made[layout]

    return folder


def render_again(name, hop=1.0, untrimmed=False, close=False, *, from_question=False):
    split, index = scene_of(name)
    scene = sample_question(index, split)[0] if from_question else sample_scene(index, split, 0, untrimmed, close)
    return render(scene, PICTURE, hop)


def items(data):
    return [(annotation, data.item(k)) for k, (i, _) in enumerate(data.samples) for annotation in [data.annotations[i]]]


def columns(table, official):
    """Indices of scenes' classes among official ones."""
    return [official.index(table[name]) for name in CLASSES]


@pytest.mark.parametrize("split", COUNTS)
def test_ave(exported, split):
    data = find_dataset("ave")(exported("ave"), split, PICTURE)
    assert len(data) == COUNTS[split]
    order = columns(AVE, data.vocabulary.classes)
    for annotation, item in items(data):
        frames, sound, targets = render_again(annotation.media)
        both = (targets["audio_segments"] & targets["visual_segments"]).astype(bool)
        read = (item.targets["audio_segments"] & item.targets["visual_segments"])[:, order].numpy().astype(bool)
        assert np.array_equal(read, both)
        events = item.targets["events"].numpy()
        assert np.array_equal(events[:, :2], targets["events"][:, :2])
        assert [order.index(int(k)) for k in events[:, 2]] == targets["events"][:, 2].tolist()
        assert item.waveform.shape == sound.shape
        assert np.abs(item.waveform.numpy() - sound).max() < 1e-3
        assert np.abs(item.frames.numpy().astype(int) - frames).mean() < 25, "pictures are of their second"


def test_ave_files_agree(exported):
    root = exported("ave")
    with h5py.File(root / "labels.h5") as f, h5py.File(root / "mil_labels.h5") as g:
        labels, clips = f["avadataset"][:], g["avadataset"][:]
    assert labels.shape == (sum(COUNTS.values()), 10, 29)
    assert np.array_equal(labels.sum(-1), np.ones(labels.shape[:2]))
    assert np.array_equal(labels[..., :28].max(1), clips[:, :28])
    data = find_dataset("ave")(root, "test", PICTURE)
    with h5py.File(root / "test_order.h5") as f:
        order = f["order"][:]
    for row, (_, item) in zip(order, items(data), strict=True):
        assert np.array_equal(labels[row, :, :28], item.targets["audio_segments"].numpy())
    (root / "test_order.h5").rename(root / "kept.h5")  # the text lists say the same
    try:
        again = find_dataset("ave")(root, "test", PICTURE)
    finally:
        (root / "kept.h5").rename(root / "test_order.h5")
    assert [x.id for x in again.annotations] == [x.id for x in data.annotations]


@pytest.mark.parametrize("split", COUNTS)
def test_llp(exported, split):
    data = find_dataset("llp")(exported("llp"), split, PICTURE)
    order = columns(LLP, data.vocabulary.classes)
    assert ("audio_segments" in data.provides) == (split != "train")
    for annotation, item in items(data):
        _, _, targets = render_again(annotation.media)
        for field in ("audio_segments", "visual_segments", "video_labels") if split != "train" else ("video_labels",):
            read = item.targets[field].numpy()
            assert np.array_equal(read[..., order], targets[field]), field
            assert read.sum() == targets[field].sum(), "and nothing else"


@pytest.mark.parametrize("split", COUNTS)
def test_unav100(exported, split):
    data = find_dataset("unav100")(exported("unav100"), split, PICTURE)
    names = data.vocabulary.classes
    for annotation, item in items(data):
        frames, sound, targets = render_again(annotation.id, untrimmed=True)
        read = item.targets["events"].numpy()
        wanted = [(a, b, names.index(CLASSES[int(k)])) for a, b, k in targets["events"]]
        assert np.array_equal(read, np.array(sorted(wanted), np.float32))
        assert item.steps == len(frames)
        assert item.duration == pytest.approx(len(sound) / 16_000)


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("layout", ["avsbench-s4", "avsbench-ms3"])
def test_binary_masks(exported, layout, split):
    data = find_dataset(layout)(exported(layout), split, PICTURE)
    for annotation, item in items(data):
        frames, sound, targets = render_again(annotation.id)
        annotated = item.targets["mask_known"].numpy()
        assert annotated.tolist() == (
            [True] + [False] * 4 if (layout, split) == ("avsbench-s4", "train") else [True] * 5
        )
        assert np.array_equal(item.targets["mask"].numpy()[annotated], targets["mask"][:5][annotated])
        assert np.array_equal(item.frames.numpy(), frames[:5]), "PNG loses nothing"
        assert np.abs(item.waveform.numpy() - sound[:80_000]).max() < 1e-4


@pytest.mark.parametrize("kind", ["labels_semantic", "labels_rgb"])
def test_class_masks(exported, kind):
    root = exported("avsbench-avss")
    for split in COUNTS:
        data = find_dataset("avsbench-avss")(root, split, PICTURE)
        if kind == "labels_rgb":
            data = _ColourMaps(root, split, PICTURE)
        official = np.array([0, *(k + 1 for k in columns(AVSS, data.vocabulary.classes))])
        for annotation, item in items(data):
            _, _, targets = render_again(annotation.id.split("_")[0])
            steps = {"v2": 10}.get(annotation.placeholders["part"], 5)
            annotated = item.targets["mask_known"].numpy()
            assert item.steps == steps
            assert annotated.sum() == (1 if annotation.placeholders["part"] == "v1s" else steps)
            assert np.array_equal(
                item.targets["class_mask"].numpy()[annotated], official[targets["class_mask"]][:steps][annotated]
            )


class _ColourMaps(AVSBenchAVSS):
    """AVSBench-semantic, made to read the colour maps."""

    patterns = replace(AVSBenchAVSS.patterns, masks=AVSBenchAVSS.patterns.masks[1:])


def test_ref_avs(exported):
    root = exported("ref-avs")
    count = 0
    for split in ("train", "val", "test_s", "test_u", "test_n"):
        data = find_dataset("ref-avs")(root, split, PICTURE)
        for annotation, item in items(data):
            folder = annotation.media.removeprefix("null_c-")
            _, _, targets = render_again(folder.split("_")[0])
            fid = int(annotation.placeholders["fid"])
            wanted = (targets["instance_mask"] == fid + 1) & (split != "test_n")
            assert np.array_equal(item.targets["mask"].numpy(), wanted)
            assert item.text.startswith("The ")
            count += 1
    assert count == sum(len(find_dataset("ref-avs")(root, s, PICTURE)) for s in ("train", "val", "test"))


def test_vggss(exported):
    root = exported("vggss")
    assert len(find_dataset("vggss")(root, "train", PICTURE)) == COUNTS["train"]
    data = find_dataset("vggss")(root, "test", PICTURE)
    records = {r["file"]: r["bbox"] for r in json.loads((root / "vggss.json").read_text())}
    assert len(data) == COUNTS["val"] + COUNTS["test"]
    for annotation, item in items(data):
        frames, sound, targets = render_again(annotation.id.split("_")[0], 0.4, close=True)
        assert item.steps == 1
        assert np.abs(item.frames.numpy()[0].astype(int) - frames[12]).mean() < 8, "JPEG loses little"
        assert np.abs(item.waveform.numpy() - sound[56_000:104_000]).max() < 1e-4, "the middle three seconds"
        source = item.targets["source"].numpy()[0]
        wanted = np.zeros((224, 224))
        for x1, y1, x2, y2 in records[annotation.id]:
            wanted[int(y1 * 224) : int(y2 * 224), int(x1 * 224) : int(x2 * 224)] = 1
        assert np.array_equal(source, wanted)
        boxes = item.targets["boxes"].numpy()[0]
        assert all((np.abs(targets["boxes"][12] - box).max(-1) < 1e-6).any() for box in boxes)


def test_vggss_full_trains_on_all_files_on_disk(exported, tmp_path):
    root = shutil.copytree(exported("vggss"), tmp_path / "vggss")
    vggss = find_dataset("vggss")
    test = {record["file"] for record in json.loads((root / "vggss.json").read_text())}
    names = {path.stem for path in (root / "frames").iterdir()}
    alone = min(names - test)
    (root / "audio" / f"{alone}.wav").unlink()
    assert {
        annotation.media for annotation in vggss(root, "train", PICTURE, release="full").annotations
    } == names - test - {alone}
    for name in names - test:
        (root / "audio" / f"{name}.wav").unlink(missing_ok=True)
    with pytest.raises(DataError, match=f"{len(names)} have a picture, {len(test)} sound"):
        vggss(root, "train", PICTURE, release="full")


@pytest.mark.parametrize("split", COUNTS)
def test_music_avqa(exported, split):
    data = find_dataset("music-avqa")(exported("music-avqa"), split, PICTURE)
    back = {official: name for name, official in MUSIC_AVQA.items()}
    assert len(data.vocabulary.answers) == 42
    for index, (_, item) in enumerate(items(data)):
        _, question = sample_question(index, split)
        text = item.text.removesuffix("?").lower()
        for official, name in back.items():
            text = text.replace(official, name)
        assert text == question.text
        assert back.get(item.targets["answer"], item.targets["answer"]) == question.answer
        assert item.targets["question_type"] == question.type


def test_avqa(exported):
    for split in ("train", "test"):
        data = find_dataset("avqa")(exported("avqa"), split, PICTURE)
        for annotation, item in items(data):
            name, index = scene_of(annotation.media)
            _, question = sample_question(index, name)
            assert item.text.lower() == f"{question.text}?"
            assert item.targets["answer"] == question.answer
            assert item.targets["choices"].count(question.answer) == 1


@pytest.mark.parametrize("split", COUNTS)
def test_ra_ssu(exported, split):
    data = find_dataset("f-music")(exported("ra-ssu"), split, PICTURE)
    fine = find_dataset("f-music")(exported("ra-ssu"), split, PICTURE, hop=1 / 30)
    for k, (annotation, item) in enumerate(items(data)):
        name, index = scene_of(annotation.id)
        scene = sample_scene(index, name)
        for hop, read in ((1 / 30, fine.item(k)), (1.0, item)):
            _, _, targets = render(scene, PICTURE, 1 / 30)
            places = range(300) if hop < 1 else range(15, 300, 30)  # the frame at the middle of each second
            assert np.array_equal(read.targets["class_mask"].numpy(), targets["class_mask"][places]), hop
            assert bool(read.targets["mask_known"].all())
        assert item.targets["caption"] == render(scene, PICTURE, 1.0)[2]["caption"]
        assert fine.item(k).steps == 300


@pytest.mark.parametrize("split", COUNTS)
def test_manifest(exported, split):
    root = exported("manifest")
    data = find_dataset("manifest")(root / "manifest.jsonl", split=split, image_size=PICTURE)
    order = [data.vocabulary.classes.index(name) if name in data.vocabulary.classes else None for name in CLASSES]
    clips = [k for k, (_, q) in enumerate(data.samples) if q is None]
    for index, k in enumerate(clips):
        scene, question = sample_question(index, split)
        _, _, targets = render(scene, PICTURE, 1.0)
        read_question = data.item(k + 1)
        assert (read_question.text, read_question.targets["answer"]) == (question.text, question.answer)
        if split == "train":
            item = data.item(k)
            official = np.array([0, *((k + 1) if k is not None else 0 for k in order)])
            assert np.array_equal(item.targets["class_mask"].numpy(), official[targets["class_mask"]])
            assert item.targets["caption"] == targets["caption"]
            present = [k for k in order if k is not None]
            names = [n for n, k in enumerate(order) if k is not None]
            for field in ("audio_segments", "visual_segments", "video_labels"):
                assert np.array_equal(item.targets[field].numpy()[..., present], targets[field][..., names])


@pytest.mark.parametrize(
    ("layout", "visual", "audio", "steps", "shapes"),
    [
        ("ave", "vgg19", "vggish", 10, ((49, 512), (128,))),
        ("llp", "res152+r2plus1d_18", "vggish", 10, ((1, 2560), (128,))),
        ("llp", "res152", "vggish", 10, ((1, 2048), (128,))),
        ("music-avqa", "clip", "vggish", 10, ((1, 768), (128,))),
        ("unav100", "rgb+flow", "vggish", None, ((1, 2048), (128,))),
    ],
)
def test_features_of_the_layout(exported, layout, visual, audio, steps, shapes):
    data = find_dataset(layout)(exported(layout), "test", visual=visual, audio=audio)
    for _, item in items(data):
        assert item.frames is None
        assert item.waveform is None
        assert (item.visual.shape[1:], item.audio.shape[1:]) == shapes
        assert len(item.visual) == len(item.audio) == (steps or len(item.visual))
        assert torch.isfinite(item.visual).all()
    if layout == "unav100":
        assert (item.hop, item.offset) == (pytest.approx(0.32), pytest.approx(0.32))
        # the middle of feature 0 is 12 pictures of 25 per second after the start, as the official shift has it
        assert item.hop / 2 + item.offset == pytest.approx(12 / 25)


def test_log_mel(exported):
    root = exported("avsbench-s4")
    data = find_dataset("avsbench-s4")(root, "test", PICTURE, audio="log_mel")
    wanted = find_dataset("avsbench-s4")(root, "test", PICTURE).item(0).waveform
    item = data.item(0)
    mel = log_mel(cut_steps(wanted[None], 5, 1.0, EXAMPLE_SAMPLES))[0]
    torch.testing.assert_close(item.audio.reshape(5, 96, 64), mel, atol=0.02, rtol=0)


def test_pictures_with_stored_sound(exported):
    item = find_dataset("llp")(exported("llp"), "test", PICTURE, audio="vggish").item(0)
    assert item.frames.shape == (10, 3, PICTURE, PICTURE)
    assert item.audio.shape == (10, 128)
    assert item.waveform is None


def test_names_stand_for_one_class_each():
    for table in (AVE, LLP, S4, AVSS, MUSIC_AVQA):
        assert len(set(table.values())) == len(table)


def test_exports_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown layout 'avee'\. Did you mean 'ave'"):
        export("avee", tmp_path / "x", COUNTS)
    with pytest.raises(ValueError, match="at least one in all"):
        export("ave", tmp_path / "x", {"train": 0})
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        export("ave", tmp_path, COUNTS)
    assert (tmp_path / "kept.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("layout", "name", "task"),
    [
        ("ave", "ave", "ave"),
        ("llp", "llp", "avvp"),
        ("unav100", "unav100", "davel"),
        ("avsbench-s4", "avsbench-s4", "avs"),
        ("avsbench-ms3", "avsbench-ms3", "avs"),
        ("avsbench-avss", "avsbench-avss", "avs"),
        ("vggss", "vggss", "ssl"),
        ("music-avqa", "music-avqa", "avqa"),
        ("avqa", "avqa", "avqa"),
        ("ref-avs", "ref-avs", "avs"),
        ("ra-ssu", "f-music", "ra_ssu"),
    ],
)
def test_targets_without_media_are_those_with_them(exported, tmp_path, layout, name, task):
    root = exported(layout)
    data = find_dataset(name)(root, "test", PICTURE)
    kept = tmp_path / "annotations"
    media = (".mp4", ".wav", ".jpg", ".npy")
    shutil.copytree(root, kept, ignore=lambda _, files: [file for file in files if file.endswith(media)])
    truth = open_truth(None, name, TruthOptions(root=kept, image_size=PICTURE))
    assert truth.task.name == task
    fields = frozenset(truth.fields)
    indices = data.indices(frozenset(truth.task.targets))
    assert truth.ids == [data.sample_id(index) for index in indices]
    with_media = [data.item(index, fields) for index in indices]
    expected = collate(with_media, task)
    batch = truth.batch(truth.ids)
    assert (batch.id, batch.hop, batch.offset) == (expected.id, expected.hop, expected.offset)
    if not data.questions_only:  # a question has no steps
        torch.testing.assert_close(batch.duration, expected.duration)
        assert torch.equal(batch.valid, expected.valid)
    assert batch.targets.keys() == expected.targets.keys()
    for field, value in expected.targets.items():
        if isinstance(value, list) and isinstance(value[0], str | list):
            assert batch.targets[field] == value
        else:
            torch.testing.assert_close(batch.targets[field], value, rtol=0, atol=0)


@pytest.mark.parametrize("task", ["ave", "avs", "ra_ssu"])
def test_targets_of_a_manifest_need_no_decoding(exported, monkeypatch, task):
    path = exported("manifest") / "manifest.jsonl"
    truth = open_truth(task, "manifest", TruthOptions(annotations=path, image_size=PICTURE))
    items_with_media = [truth.dataset.item(truth.place(name), truth.fields) for name in truth.ids]
    expected = collate(items_with_media, task)
    monkeypatch.setattr("avkit.media.decode.read_clip", None)
    batch = truth.batch(truth.ids)
    assert torch.equal(batch.valid, expected.valid)
    for field, value in expected.targets.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(batch.targets[field], value, rtol=0, atol=0)
