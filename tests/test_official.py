# SPDX-License-Identifier: Apache-2.0
"""Readers of official data: what the real annotation files hold, every quirk of them, and what goes wrong on disk."""

import functools
import gzip
import json
import operator
import pickle
import shutil
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import SHARED
from PIL import Image

from avkit.datasets import DATASETS, find_dataset
from avkit.datasets.annotations import QuestionAnnotation
from avkit.datasets.ave import CLASSES as AVE_CLASSES
from avkit.datasets.avsbench_avss import CLASSES as AVSS_CLASSES
from avkit.datasets.avsbench_avss import palette_colour
from avkit.datasets.avsbench_s4 import CATEGORIES
from avkit.datasets.flickr_soundnet import read_boxes
from avkit.datasets.llp import CLASSES as LLP_CLASSES
from avkit.datasets.music_avqa import ANSWERS
from avkit.datasets.official import Official
from avkit.datasets.pickles import read_log_mel
from avkit.datasets.tables import read_json, read_rows, safe_id
from avkit.errors import DataError
from avkit.media.write import write_wave
from avkit.systems.tspm.prompt_constructor import PromptConstructor

OFFICIAL = [name for name in DATASETS if issubclass(find_dataset(name), Official)]


def listed(name, root, split, **options):
    """A reader that does not look for media; of real files one that is shared, as they do not change."""
    make = _listed_once if SHARED in Path(root).parents else _listed
    return make(name, root, split, **options)


def _listed(name, root, split, **options):
    return find_dataset(name)(root, split, find_media=False, **options)


_listed_once = functools.cache(_listed)


@pytest.fixture(scope="module", autouse=True)
def _forgotten():
    """What is shared goes with the module."""
    yield
    _listed_once.cache_clear()


@pytest.fixture(scope="session")
def notes(real):
    """Folders of real annotation files, by the name of each."""
    return real / "annotations"


@pytest.fixture(scope="session")
def avsbench(notes, tmp_path_factory):
    """The real table of AVSBench-semantic under its official name."""
    root = tmp_path_factory.mktemp("avsbench")
    shutil.copy(notes / "avsbench/avss_metadata_gavs.csv", root / "metadata.csv")
    return root


def sound(seconds):
    return (0.1 * np.sin(np.arange(round(seconds * 16_000)) / 9)).astype(np.float32)


def slow(*values):
    """A case of a parametrized test that is left out by default."""
    return pytest.param(*values, marks=pytest.mark.slow)


class TestReal:
    """Every count that was checked against the real files."""

    @pytest.mark.parametrize(
        ("name", "folder", "release", "counts"),
        [
            ("ave", "ave", None, {"train": 3339, "val": 402, "test": 402}),
            ("ave", "ave", "weak", {"train": 3517, "test": 402}),
            ("llp", "llp", None, {"train": 10_000, "val": 649, "test": 1200}),
            ("music-avqa", "music_avqa", "update", {"val": 4568, "test": 9129}),
            ("music-avqa", "music_avqa", "original", {"val": 4595, "test": 9185}),
            slow("music-avqa", "music_avqa", "real", {"val": 3698, "test": 7402}),
            slow("music-avqa", "music_avqa", "synthetic", {"train": 6233, "val": 897, "test": 1783}),
            ("music-avqa", "music_avqa", "by-video", {"val": 4571, "test": 9125}),
            ("music-avqa", "music_avqa", "v2", {"test": 10_819}),
            ("unav100", "unav100", None, {"train": 6489, "val": 2134, "test": 2167}),
            (
                "ref-avs",
                "ref_avs",
                None,
                {"train": 14_113, "val": 1349, "test": 4972, "test_s": 2288, "test_u": 1656, "test_n": 1028},
            ),
            ("vggss", "ssl", "144k", {"test": 5158}),
            ("vggss", "ssl", "10k", {"train": 10_000}),
            ("vggss", "ssl", "heard", {"test": 2564}),
            ("vggss", "ssl", "unheard", {"test": 2575}),
            ("vggss", "ssl", "silent", {"test": 2 * 5158}),
            ("flickr-soundnet", "ssl", "10k", {"train": 10_000, "test": 249}),
        ],
    )
    def test_counts(self, notes, name, folder, release, counts):
        found = {split: len(listed(name, notes / folder, split, release=release)) for split in counts}
        assert found == counts
        reader = find_dataset(name)
        assert counts.items() <= reader.counts[release or reader.releases[0]].items()

    @pytest.mark.parametrize(
        ("name", "release", "counts"),
        [
            ("avsbench-s4", None, {"train": 3452, "val": 740, "test": 740}),
            ("avsbench-ms3", None, {"train": 296, "val": 64, "test": 64}),
            ("avsbench-avss", None, {"train": 8498, "val": 1304, "test": 1554}),
            ("avsbench-avss", "v2", {"train": 4750, "val": 500, "test": 750}),
            ("avsbench-avss", "v1m", {"train": 296, "val": 64, "test": 64}),
        ],
    )
    def test_counts_of_avsbench(self, avsbench, name, release, counts):
        assert {split: len(listed(name, avsbench, split, release=release)) for split in counts} == counts

    def test_ave(self, notes):
        splits = {split: listed("ave", notes / "ave", split) for split in ("train", "val", "test")}
        every = {int(annotation.id.split("#")[1]): annotation for d in splits.values() for annotation in d.annotations}
        assert sorted(every) == list(range(4143))
        per_class = Counter(annotation.labels[0] for annotation in every.values())
        assert [per_class[c] for c in AVE_CLASSES[:5]] == [188, 176, 171, 184, 188]
        assert (notes / "ave/dgsct_categories.txt").read_text().split("\n")[:28] == AVE_CLASSES
        assert len({annotation.media for annotation in every.values()}) == 4097
        assert every[26].events == []
        assert every[26].labels == ["Church bell"]
        seconds = sum(e.end - e.start for annotation in every.values() for e in annotation.events)
        assert seconds == 34_352
        with h5py.File(notes / "ave/labels_closs.h5") as f, h5py.File(notes / "ave/mil_labels.h5") as g:
            closs, clips = f["avadataset"][:], g["avadataset"][:]
        for row, annotation in every.items():
            covered = np.zeros(10)
            for e in annotation.events:
                covered[int(e.start) : int(e.end)] = 1
            assert np.array_equal(covered, closs[row])
            assert clips[row].argmax() == AVE_CLASSES.index(annotation.labels[0])

    def test_ave_with_header_and_lists(self, notes, tmp_path):
        shutil.copy(notes / "ave/dgsct_Annotations.txt", tmp_path / "Annotations.txt")
        for split in ("train", "val", "test"):
            shutil.copy(notes / f"ave/dgsct_{split}Set.txt", tmp_path / f"{split}Set.txt")
        for split in ("train", "val", "test"):
            a, b = listed("ave", tmp_path, split), listed("ave", notes / "ave", split)
            assert [(x.id, x.events) for x in a.annotations] == [(x.id, x.events) for x in b.annotations]

    def test_the_matching_split_is_refused(self, notes, tmp_path):
        shutil.copy(notes / "ave/Annotations.txt", tmp_path / "Annotations.txt")
        for split, other in (("train", "train_order"), ("val", "val_order"), ("test", "test_order_match")):
            shutil.copy(notes / f"ave/{other}.h5", tmp_path / f"{split}_order.h5")
        with pytest.raises(DataError, match="cross-modality matching"):
            listed("ave", tmp_path, "test")

    def test_weak_ave_reads_the_background_clips(self, notes, tmp_path):
        for path in (notes / "ave").iterdir():
            shutil.copy(path, tmp_path / path.name)
        with gzip.open(tmp_path / "audio_feature_noisy.h5.gz") as f:
            (tmp_path / "audio_feature_noisy.h5").write_bytes(f.read())
        with h5py.File(tmp_path / "audio_feature.h5", "w") as f:
            f["avadataset"] = np.ones((4143, 10, 128), np.float32)
        with h5py.File(tmp_path / "visual_feature.h5", "w") as f:
            f.create_dataset("avadataset", (4143, 10, 7, 7, 512), np.float32)
        with h5py.File(tmp_path / "visual_feature_noisy.h5", "w") as f:
            f.create_dataset("avadataset", (178, 10, 7, 7, 512), np.float32)
        data = find_dataset("ave")(tmp_path, "train", release="weak", visual="vgg19", audio="vggish")
        assert len(data) == 3517
        item = data.item(3516)
        assert item.id == "noisy#177"
        assert item.audio.dtype == torch.float64
        assert 0 <= float(item.audio.min()) < float(item.audio.max()) < 4.6
        assert item.targets["video_labels"].sum() == 0
        assert item.visual.shape == (10, 49, 512)

    def test_llp(self, notes):
        splits = {split: listed("llp", notes / "llp", split) for split in ("train", "val", "test")}
        counts = {s: Counter(c for annotation in d.annotations for c in annotation.labels) for s, d in splits.items()}
        train = [4988, 624, 528, 761, 192, 343, 455, 218, 299, 602, 186, 1172, 437, 1457, 495, 146, 445, 224, 411, 587]
        assert [counts["train"][c] for c in LLP_CLASSES] == [*train, 503, 99, 430, 291, 164]
        test = [625, 91, 86, 110, 36, 47, 46, 24, 27, 89, 31, 181, 64, 159, 58, 20, 52, 28, 60, 68, 104, 11, 43, 34, 85]
        assert [counts["test"][c] for c in LLP_CLASSES] == test
        assert splits["test"].orphans == 25
        events = {
            (split, m): sum(e.modality == m for annotation in splits[split].annotations for e in annotation.events)
            for split in ("val", "test")
            for m in ("audio", "visual")
        }
        # those of the files, without the five empty or reversed ones that clips of val and test have
        assert 2660 < events["test", "audio"] <= 2666
        assert (events["test", "visual"], events["val", "visual"]) == (1628, 856)
        silent = sum(
            not any(e.modality == "audio" for e in x.events) for s in ("val", "test") for x in splits[s].annotations
        )
        unseen = sum(
            not any(e.modality == "visual" for e in x.events) for s in ("val", "test") for x in splits[s].annotations
        )
        assert unseen == 191
        assert silent >= 9
        by_id = {x.id: x for s in ("val", "test") for x in splits[s].annotations}
        assert not any(e.start == 9 and e.end == 0 for e in by_id["8DF2PxdT5tE_390_400"].events)
        assert next(x for x in splits["train"].annotations if x.id == "AP0061o0Nvk_101.8_111.8").media == "AP0061o0Nvk"
        assert by_id["LcFWKgFphXI_20_30"].labels == ["Clapping", "Clapping"]
        assert {e.label for e in by_id["JfZEqeLZqWk_30_40"].events if e.modality == "audio"} >= {"Speech"}

    def test_the_old_file_of_llp(self, notes, tmp_path):
        for path in (notes / "llp").glob("*.csv"):
            shutil.copy(path, tmp_path / path.name)
        (tmp_path / "AVVP_eval_audio_before_2024.csv").replace(tmp_path / "AVVP_eval_audio.csv")
        with pytest.raises(DataError, match="from before 2024-04-16"):
            listed("llp", tmp_path, "test")
        old = listed("llp", tmp_path, "test", release="2020")
        assert old.orphans == 28
        with pytest.raises(DataError, match="release='2020' was asked for"):
            listed("llp", notes / "llp", "test", release="2020")

    def test_avsbench(self, avsbench, notes):
        test = {
            annotation.id.rsplit("_", 2)[0]
            for annotation in listed("avsbench-avss", avsbench, "test", release="v1s").annotations
        }
        s4 = listed("avsbench-s4", avsbench, "test")
        assert {annotation.id for annotation in s4.annotations} == test
        boxes = read_rows(notes / "avsbench/s4_test_boxes.csv", ["frame", "category"])
        category = {row["frame"].rsplit("_", 1)[0]: row["category"] for row in boxes}
        assert {x.id: x.placeholders["category"] for x in s4.annotations} == category
        assert set(category.values()) <= set(CATEGORIES)
        things = Counter(
            label
            for s in ("train", "val", "test")
            for x in listed("avsbench-avss", avsbench, s, release="v1s").annotations
            for label in x.labels
        )
        assert (things["baby"], things["horse"], things["wolf"], things["woman"]) == (91, 192, 62, 305)
        palette = read_rows(notes / "avsbench/avss_palette.csv", ["index", "name", "r", "g", "b"])
        assert [row["name"] for row in palette[1:]] == AVSS_CLASSES
        assert all(palette_colour(int(x["index"])) == (int(x["r"]), int(x["g"]), int(x["b"])) for x in palette)
        ms3 = {
            split: [x.id for x in listed("avsbench-ms3", avsbench, split).annotations]
            for split in ("train", "val", "test")
        }
        assert "baby_dog_2_1" in functools.reduce(operator.iadd, ms3.values(), [])
        empty = [
            x
            for s in ("train", "val", "test")
            for x in listed("avsbench-avss", avsbench, s).annotations
            if not x.labels
        ]
        assert len(empty) >= 5

    def test_vggss(self, notes):
        data = listed("vggss", notes / "ssl", "test")
        usable = [len(annotation.boxes) for annotation in data.annotations]
        assert sum(usable) == 5941 - 18
        empty = [annotation.id for annotation in data.annotations if not annotation.boxes]
        assert sorted(empty) == ["M1P1xla8rg0_000000", "MKC9LvRivTM_000030"]
        assert all(0 <= x <= 1 for annotation in data.annotations for b in annotation.boxes for x in b.box)

    def test_music_avqa(self, notes):
        data = listed("music-avqa", notes / "music_avqa", "test")
        types = Counter(annotation.questions[0].type for annotation in data.annotations)
        assert types["Audio-Visual Existential"] == 988
        assert types["Audio Comparative"] == 594
        assert types["Visual Location"] == 1225
        assert len({annotation.media for annotation in data.annotations}) == 6399
        words = list(dict.fromkeys((notes / "music_avqa/dgsct_ques_vocab.txt").read_text().split("\n")[:93]))
        assert len(data.vocabulary.words) == len(words)
        assert sorted(ANSWERS) == sorted((notes / "music_avqa/answers42.txt").read_text().split("\n")[:42])
        assert (notes / "music_avqa/dgsct_ans_vocab.txt").read_text().split("\n")[:42] == ANSWERS
        original = listed("music-avqa", notes / "music_avqa", "test", release="original")
        again = [annotation for annotation in original.annotations if "#" in annotation.id]
        assert len(again) == 55
        v2 = listed("music-avqa", notes / "music_avqa", "test", release="v2")
        assert len({annotation.id for annotation in v2.annotations}) == len(v2.annotations)
        by_video = {
            s: {x.media for x in listed("music-avqa", notes / "music_avqa", s, release="by-video").annotations}
            for s in ("val", "test")
        }
        assert not by_video["val"] & by_video["test"]
        statements = PromptConstructor.load(notes / "music_avqa/tspm_text_prompt.csv")
        for split in ("val", "test"):
            statements.check_covers(listed("music-avqa", notes / "music_avqa", split).questions())

    def test_unav100(self, notes):
        splits = {split: listed("unav100", notes / "unav100", split) for split in ("train", "val", "test")}
        events = {split: sum(len(annotation.events) for annotation in d.annotations) for split, d in splits.items()}
        assert events == {"train": 18_123, "val": 6036, "test": 5900}
        assert len(splits["train"].vocabulary.classes) == 100
        count = Counter(e.label for d in splits.values() for annotation in d.annotations for e in annotation.events)
        assert (count["man speaking"], count["ambulance siren"]) == (2515, 116)

    def test_ref_avs(self, notes):
        data = listed("ref-avs", notes / "ref_avs", "test_n")
        assert all(annotation.media.startswith(("null_c-", "null_m-")) for annotation in data.annotations)
        repeated = [
            x
            for s in ("train", "val", "test")
            for x in listed("ref-avs", notes / "ref_avs", s).annotations
            if "#" in x.id
        ]
        assert len(repeated) <= 11

    def test_the_other_release_is_told_by_its_rows(self, notes, tmp_path):
        (tmp_path / "json_update").mkdir()
        shutil.copy(notes / "music_avqa/json/avqa-test.json.gz", tmp_path / "json_update/avqa-test.json.gz")
        with pytest.raises(DataError, match="9185, as split 'test' of release 'original' has"):
            listed("music-avqa", tmp_path, "test")

    def test_another_dataset_is_recognised(self, notes):
        with pytest.raises(DataError, match="it looks like AVE"):
            listed("llp", notes / "ave", "test")


class TestRealClips:
    """Real clips in their authors' layouts, with the labels that the real files give them."""

    def test_ave(self, real, tmp_path):
        for path in (real / "annotations/ave").iterdir():
            (tmp_path / path.name).symlink_to(path)
        (tmp_path / "AVE").mkdir()
        (tmp_path / "AVE/-67UNKFmRLk.mp4").symlink_to(real / "clips/crab/ave/-67UNKFmRLk.mp4")
        (tmp_path / "AVE/-en7GAdXAQk.mp4").symlink_to(real / "clips/crab/-en7GAdXAQk.mp4")
        found = {}
        for split in ("train", "val", "test"):
            try:
                data = find_dataset("ave")(tmp_path, split, 32, allow_missing=True)
            except DataError:
                continue
            found |= {annotation.id: (data, k) for k, annotation in enumerate(data.annotations)}
        data, k = found["-67UNKFmRLk#1409"]
        item = data.item(k)
        assert item.targets["events"].tolist() == [[7, 10, AVE_CLASSES.index("Violin, fiddle")]]
        assert item.frames.shape == (10, 3, 32, 32)
        assert item.waveform.abs().max() > 0.01
        assert data.coverage[0] + len(data.missing) == data.coverage[1]
        data, k = found["-en7GAdXAQk#191"]
        assert data.item(k).targets["events"].tolist() == [[0, 8, 1]]

    def test_llp(self, real, tmp_path):
        for path in (real / "annotations/llp").glob("*.csv"):
            (tmp_path / path.name).symlink_to(path)
        for folder in ("video", "frame/BjCEufrlXm4"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "video/6aV6c8mY0lg.mp4").symlink_to(real / "clips/crab/avvp/6aV6c8mY0lg.mp4")
        item = find_dataset("llp")(tmp_path, "test", 32, allow_missing=True).item(0)
        chainsaw = LLP_CLASSES.index("Chainsaw")
        assert item.targets["audio_segments"][:, chainsaw].tolist() == [1] * 10
        assert item.targets["visual_segments"][:, chainsaw].tolist() == [1, 0, 0, 1, 1, 1, 0, 0, 0, 1]
        for path in (real / "clips/llp/frame/BjCEufrlXm4").iterdir():
            (tmp_path / "frame/BjCEufrlXm4" / path.name).symlink_to(path)
        (tmp_path / "video/BjCEufrlXm4.mp4").symlink_to(real / "clips/llp/video/BjCEufrlXm4.mp4")
        data = find_dataset("llp")(tmp_path, "train", 32, allow_missing=True)
        item = data.item(0)
        assert data.annotations[0].frames is not None, "82 pictures at 8 per second stand for ten steps"
        assert item.frames.shape == (10, 3, 32, 32)
        assert [LLP_CLASSES[k] for k in item.targets["video_labels"].nonzero()[:, 0]] == ["Speech", "Dog"]

    def test_unav(self, real, tmp_path):
        (tmp_path / "raw_videos").mkdir()
        (tmp_path / "raw_videos/--HuBNHXu9I.mp4").symlink_to(real / "clips/unav/--HuBNHXu9I.mp4")
        for path in (real / "annotations/unav100").iterdir():
            (tmp_path / path.name).symlink_to(path)
        item = find_dataset("unav100")(tmp_path, "train", 32, allow_missing=True).item(0)
        assert item.steps == 60
        times = [[0, 10.235], [13.139, 26.235], [28.685, 60]]
        torch.testing.assert_close(item.targets["events"][:, :2], torch.tensor(times), atol=1e-3, rtol=0)

    @pytest.mark.parametrize(
        ("folder", "uid", "part", "frame", "split", "thing"),
        [
            ("s4", "_4R3qHn1n50_0_5000", "v1s", 0, "test", "mower"),
            ("ms3", "3vheOi4y540_1", "v1m", 1, "test", "man"),
            ("avss", "_aldtLqTVYI_1000_11000", "v2", 0, "test", "clarinet"),
        ],
    )
    def test_avss(self, real, avsbench, tmp_path, folder, uid, part, frame, split, thing):
        shutil.copy(avsbench / "metadata.csv", tmp_path / "metadata.csv")
        source, clip = real / "clips/crab" / folder, tmp_path / part / uid
        colours = folder == "avss"
        masks = clip / ("labels_rgb" if colours else "labels_semantic")
        (clip / "frames").mkdir(parents=True)
        masks.mkdir()
        picture = next(p for p in source.iterdir() if p.suffix == ".jpg")
        mask = next(p for p in source.iterdir() if p.suffix == ".png")
        for k in range(10 if part == "v2" else 5):  # one real frame stands for all
            (clip / f"frames/{k}.jpg").symlink_to(picture)
            (masks / f"{k}.png").symlink_to(mask)
        (clip / "audio.wav").symlink_to(source / "audio.wav")
        item = find_dataset("avsbench-avss")(tmp_path, split, 64, allow_missing=True).item(0)
        assert item.steps == (10 if part == "v2" else 5)
        assert item.targets["mask_known"].sum() == (1 if part == "v1s" else item.steps)
        values = item.targets["class_mask"][0].unique().tolist()
        assert AVSS_CLASSES.index(thing) + 1 in values
        assert len(item.waveform) == item.steps * 16_000

    def test_log_mel(self, real):
        mel = read_log_mel(real / "clips/avsbench/frog_log_mel.pkl")
        assert mel.shape == (5, 1, 96, 64)
        assert (round(float(mel.min()), 2), round(float(mel.max()), 2)) == (-1.31, 2.76)


def test_rows_of_one_video_keep_their_own_features(tmp_path):
    rows = ["Bark&aaaaaaaaaaa&good&2&5", "Cat&aaaaaaaaaaa&good&6&9"]
    TestDisk().ave(tmp_path, rows)
    for name, shape in (("audio", (2, 10, 128)), ("visual", (2, 10, 7, 7, 512))):
        with h5py.File(tmp_path / f"{name}_feature.h5", "w") as f:
            f["avadataset"] = np.ones(shape, np.float32) * np.arange(2).reshape(2, *[1] * (len(shape) - 1))
    data = find_dataset("ave")(tmp_path, "train", visual="vgg19", audio="vggish")
    assert [float(data.item(k).audio.mean()) for k in (0, 1)] == [0, 1]


class TestDisk:
    """What people have on disk, and what they are told."""

    def ave(self, root, rows=("Bark&aaaaaaaaaaa&good&2&5",), header=False, clips=("aaaaaaaaaaa",)):
        root.mkdir(exist_ok=True)
        lines = ["Category&VideoID&Quality&StartTime&EndTime"] * header + list(rows)
        (root / "Annotations.txt").write_text("\n".join(lines) + "\n")
        for split in ("train", "val", "test"):
            (root / f"{split}Set.txt").write_text("\n".join(rows) + "\n")
        for name in clips:
            (root / f"video_frames/{name}").mkdir(parents=True, exist_ok=True)
            (root / "raw_audio").mkdir(exist_ok=True)
            for k in range(1, 21):
                Image.new("RGB", (8, 8), (k * 10, 0, 0)).save(root / f"video_frames/{name}/{k:04d}.jpg")
            write_wave(root / f"raw_audio/{name}.wav", sound(10))
        return root

    def test_frames_at_any_rate(self, tmp_path):
        item = find_dataset("ave")(self.ave(tmp_path / "a"), "train", 8).item(0)
        assert (item.frames[:, 0, 0, 0].float() / 20).round().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert item.targets["audio_segments"][:, AVE_CLASSES.index("Bark")].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]

    def test_a_clip_with_a_dot_in_its_name(self, tmp_path):
        root = self.ave(tmp_path / "a", ["Bark&aaaa.aaaaaa&good&2&5"], clips=("aaaa.aaaaaa",))
        assert find_dataset("ave")(root, "train", 8).item(0).frames.shape == (10, 3, 8, 8)

    @pytest.mark.parametrize("header", [False, True])
    @pytest.mark.parametrize("ends", ["\n", "\r\n"])
    @pytest.mark.parametrize("bom", ["", "\ufeff"])
    def test_header_line_ends_and_bom(self, tmp_path, header, ends, bom):
        root = self.ave(tmp_path / "a", header=header)
        text = (root / "Annotations.txt").read_text()
        (root / "Annotations.txt").write_bytes((bom + text.replace("\n", ends)).encode())
        assert len(find_dataset("ave")(root, "train", 8)) == 1

    def test_one_video_several_rows(self, tmp_path):
        rows = ["Bark&aaaaaaaaaaa&good&2&5", "Cat&aaaaaaaaaaa&good&6&9"]
        data = find_dataset("ave")(self.ave(tmp_path / "a", rows), "train", 8)
        assert [x.id for x in data.annotations] == ["aaaaaaaaaaa#0", "aaaaaaaaaaa#1"]
        assert data.item(1).frames is data.item(0).frames, "read once"

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("Bark&aaaaaaaaaaa&good&2&15", "the event lasts from 2 to 15 s; a clip lasts 10 s"),
            ("Brak&aaaaaaaaaaa&good&2&5", "Did you mean 'Bark'"),
            ("Bark&../../etc/x&good&2&5", "is no clip id"),
            ("Bark&..&good&2&5", "is no clip id"),
            ("Bark aaaaaaaaaaa good 2 5", "1 fields instead of 5"),
            ("Bark&aaaaaaaaaaa&good&two&5", "'two' is no number"),
        ],
    )
    def test_bad_rows(self, tmp_path, row, message):
        root = self.ave(tmp_path / "a")
        (root / "Annotations.txt").write_text(row + "\n")
        with pytest.raises(DataError, match=message) as error:
            find_dataset("ave")(root, "train", 8)
        assert "annotation 0" in str(error.value)

    def test_missing_clips(self, tmp_path):
        rows = ["Bark&aaaaaaaaaaa&good&2&5", "Cat&bbbbbbbbbbb&good&6&9"]
        root = self.ave(tmp_path / "a", rows)
        with pytest.raises(DataError, match="1 of 2 clips are not there, such as 'bbbbbbbbbbb#1'") as error:
            find_dataset("ave")(root, "train", 8)
        assert "avkit check ave" in str(error.value)
        data = find_dataset("ave")(root, "train", 8, allow_missing=True)
        assert (data.coverage, data.missing) == ((1, 2), {"bbbbbbbbbbb#1": "pictures"})
        assert data.item(0).id == "aaaaaaaaaaa#0"

    def test_a_wrong_root(self, tmp_path):
        with pytest.raises(DataError, match=r"none of Annotations.txt is under root"):
            find_dataset("ave")(tmp_path, "train")
        with pytest.raises(DataError, match="is no folder"):
            find_dataset("ave")(tmp_path / "none", "train")
        with pytest.raises(ValueError, match=r"Unknown split of AVE 'tset'\. Did you mean 'test'"):
            find_dataset("ave")(tmp_path, "tset")
        with pytest.raises(ValueError, match="Unknown release of LLP '2042'"):
            find_dataset("llp")(tmp_path, "test", release="2042")
        with pytest.raises(ValueError, match="AVE has 10 steps of 1 s"):
            find_dataset("ave")(tmp_path, "train", hop=0.5)

    def test_spaces_for_tabs(self, tmp_path):
        (tmp_path / "AVVP_train.csv").write_text("filename event_labels\nBjCEufrlXm4_20_30 Speech,Dog\n")
        with pytest.raises(DataError, match="separated by tabs"):
            listed("llp", tmp_path, "train")
        (tmp_path / "AVVP_train.csv").write_text("filename\tevent_labels\nBjCEufrlXm4_20_30 Speech,Dog\n")
        with pytest.raises(DataError, match="line 2: 1 fields where the header has 2"):
            listed("llp", tmp_path, "train")

    def test_twice_the_same_clip(self, tmp_path):
        row = "BjCEufrlXm4_20_30\tSpeech,Dog\n"
        (tmp_path / "AVVP_train.csv").write_text("filename\tevent_labels\n" + row + row)
        with pytest.raises(DataError, match="1 ids occur more than once, such as 'BjCEufrlXm4_20_30'"):
            listed("llp", tmp_path, "train")

    def test_cut_off_files(self, tmp_path):
        root = self.ave(tmp_path / "a")
        with h5py.File(root / "train_order.h5", "w") as f:
            f["order"] = np.arange(1)
        whole = (root / "train_order.h5").read_bytes()
        (root / "train_order.h5").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match="cannot be read as HDF5"):
            find_dataset("ave")(root, "train", 8)
        (tmp_path / "x.json").write_text('[{"a": 1')
        with pytest.raises(DataError, match="is no whole JSON"):
            read_json(tmp_path / "x.json")
        (tmp_path / "x.json.gz").write_bytes(gzip.compress(b"[1, 2]")[:-4])
        with pytest.raises(DataError, match="cannot be read"):
            read_json(tmp_path / "x.json.gz")

    def test_a_video_shorter_than_its_label(self, tmp_path):
        root = self.ave(tmp_path / "a")
        write_wave(root / "raw_audio/aaaaaaaaaaa.wav", sound(6))
        with pytest.raises(DataError, match=r"lasts 6.00 s and its labels 10 s"):
            find_dataset("ave")(root, "train", 8).item(0)
        item = find_dataset("ave")(root, "train", 8, allow_missing=True).item(0)
        assert len(item.waveform) == 160_000
        assert item.waveform[96_000:].abs().max() == 0

    def test_question_types_and_answers(self, tmp_path):
        record = {"video_id": "00000001", "question_id": 1, "type": '["Audio", "Counting"]', "templ_values": '["left"]'}
        record |= {"question_content": "How many <LR>\uff1f ", "question_deleted": 0, "anser": "two"}

        def read(**other):
            for split in ("train", "test"):
                (tmp_path / f"avqa-{split}.json").write_text(json.dumps([record | other]))
            return listed("music-avqa", tmp_path, "test").annotations[0].questions[0]

        expected = QuestionAnnotation(question="How many left?", answer="two", type="Audio Counting", id="1")
        assert read() == expected
        with pytest.raises(DataError, match="Unknown question type 'Audio Smelling'"):
            read(type='["Audio", "Smelling"]')
        with pytest.raises(DataError, match=r"Unknown answer 'tow'\. Did you mean 'two'"):
            read(anser="tow")
        with pytest.raises(DataError, match="has 1 slots and 2 values"):
            read(templ_values='["a", "b"]')
        with pytest.raises(DataError, match="no list written as JSON"):
            read(templ_values="['left']")
        with pytest.raises(DataError, match="is no clip id"):
            read(video_id="a/b")

    def test_avqa_with_null_choices(self, tmp_path):
        record = {"id": 183, "video_name": "-HG3Omg_89c_000030", "video_id": 341, "question_text": "What happened?"}
        record |= {
            "multi_choice": ["a", "b", None],
            "answer": 1,
            "question_relation": "View",
            "question_type": "Happening",
        }
        for split in ("train", "val"):
            (tmp_path / f"{split}_qa.json").write_text(json.dumps([record]))
        question = listed("avqa", tmp_path, "test").annotations[0].questions[0]
        assert (question.choices, question.answer) == (["a", "b", "", ""], "b")
        (tmp_path / "val_qa.json").write_text(json.dumps([record | {"answer": 2}]))
        with pytest.raises(DataError, match="answer 2 is none of the choices"):
            listed("avqa", tmp_path, "test")
        (tmp_path / "val_qa.json").write_text(json.dumps([record | {"question_type": "Hapening"}]))
        with pytest.raises(DataError, match="Did you mean 'Happening'"):
            listed("avqa", tmp_path, "test")

    def test_events_beyond_the_duration(self, tmp_path):
        video = {"duration": 10, "subset": "train", "annotations": [{"segment": [2, 12], "label": "a", "label_id": 0}]}
        (tmp_path / "unav100_annotations.json").write_text(json.dumps({"database": {"v": video}}))
        with pytest.raises(DataError, match="an event lasts from 2 to 12 s; the video lasts 10 s"):
            listed("unav100", tmp_path, "train")

    def test_features_of_two_lengths_are_cut_to_the_shorter(self, tmp_path):
        video = {"duration": 10, "subset": "train", "annotations": [{"segment": [2, 8], "label": "a", "label_id": 0}]}
        (tmp_path / "unav100_annotations.json").write_text(json.dumps({"database": {"-v_1": video}}))
        folder = tmp_path / "av_features"
        folder.mkdir()
        for ending, shape in (("rgb", (29, 1024)), ("flow", (29, 1024)), ("vggish", (31, 128))):
            np.save(folder / f"-v_1_{ending}.npy", np.zeros(shape, np.float32))
        item = find_dataset("unav100")(tmp_path, "train", visual="rgb+flow", audio="vggish").item(0)
        assert (item.visual.shape, item.audio.shape) == ((29, 1, 2048), (29, 128))
        with pytest.raises(ValueError, match=r"Unknown features of UnAV-100 'rbg'\. Did you mean 'rgb'"):
            find_dataset("unav100")(tmp_path, "train", visual="rbg")

    def test_flickr_boxes(self, tmp_path):
        person = "<person{0}><x/>{1}</person{0}>"
        box = "<bbox><label>a</label><a>{}</a><b>{}</b><c>{}</c><d>{}</d></bbox>"
        text = person.format(1, box.format(0, 0, 128, 128)) + person.format(
            2, "<other/>" + box.format(64, 64, 256, 256)
        )
        (tmp_path / "Annotations").mkdir()
        (tmp_path / "Annotations/77.xml").write_text(f"<a>{text}</a>")
        (tmp_path / "frames").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "frames/77.jpg")
        write_wave(tmp_path / "audio/77.wav", sound(1))
        (tmp_path / "flickr_test.csv").write_text("77,202\n")
        source = find_dataset("flickr-soundnet")(tmp_path, "test", 8).item(0).targets["source"][0]
        wanted = torch.zeros(224, 224)
        wanted[:112, :112] += 0.5
        wanted[56:, 56:] += 0.5
        assert torch.equal(source, wanted)
        (tmp_path / "Annotations/77.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
        with pytest.raises(DataError, match="It is refused"):
            read_boxes(tmp_path / "Annotations/77.xml")
        (tmp_path / "Annotations/77.xml").write_text("<a><b><bbox><x/><y>1</y></bbox></b></a>")
        with pytest.raises(DataError, match="fewer than five parts"):
            read_boxes(tmp_path / "Annotations/77.xml")

    def test_masks_of_any_mode(self, tmp_path):
        (tmp_path / "ms3_meta_data.csv").write_text("name,split\nclip_1,train\n")
        for k in range(1, 6):
            folders = [tmp_path / "ms3_data/visual_frames/clip_1", tmp_path / "ms3_data/gt_masks/train/clip_1"]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(folders[0] / f"clip_1.mp4_{k}.png")
            mask = np.zeros((16, 16), np.uint8)
            mask[:8] = 1
            image = Image.fromarray(mask * 255).convert("1") if k == 1 else Image.fromarray(mask * 200)
            if k == 3:
                image = Image.fromarray(mask)
                image.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
            image.save(folders[1] / f"clip_1_{k}.png")
        write_wave(tmp_path / "ms3_data/audio_wav/train/clip_1.wav", sound(5))
        item = find_dataset("avsbench-ms3")(tmp_path, "train", 16).item(0)
        assert item.targets["mask"][:, :8].min() == 1
        assert item.targets["mask"][:, 8:].max() == 0
        Image.new("L", (16, 32)).save(folders[1] / "clip_1_5.png")
        with pytest.raises(DataError, match="is 16 x 32 pixels and its picture 16 x 16"):
            find_dataset("avsbench-ms3")(tmp_path, "train", 16).item(0)
        (folders[1] / "clip_1_5.png").unlink()
        with pytest.raises(DataError, match="has no masks"):
            find_dataset("avsbench-ms3")(tmp_path, "train", 16)
        pickled = tmp_path / "ms3_data/audio_log_mel/train/clip_1.pkl"
        pickled.parent.mkdir(parents=True)
        pickled.write_bytes(pickle.dumps(torch.ones(5, 1, 96, 64)))
        Image.new("L", (16, 16)).save(folders[1] / "clip_1_5.png")
        item = find_dataset("avsbench-ms3")(tmp_path, "train", 16, audio="log_mel").item(0)
        assert item.audio.shape == (5, 96 * 64)

    def test_a_colour_outside_the_palette(self, tmp_path):
        (tmp_path / "metadata.csv").write_text("vid,uid,s_min,s_sec,a_obj,split,label\nv,v_1,0,0,man,train,v1m\n")
        clip = tmp_path / "v1m/v_1"
        for folder in ("frames", "labels_rgb"):
            (clip / folder).mkdir(parents=True)
        for k in range(5):
            Image.new("RGB", (8, 8)).save(clip / f"frames/{k}.jpg")
            Image.new("RGB", (8, 8), (192, 0, 64)).save(clip / f"labels_rgb/{k}.png")
        write_wave(clip / "audio.wav", sound(5))
        item = find_dataset("avsbench-avss")(tmp_path, "train", 8).item(0)
        assert item.targets["class_mask"].unique().tolist() == [AVSS_CLASSES.index("man") + 1]
        Image.new("RGB", (8, 8), (191, 1, 64)).save(clip / "labels_rgb/2.png")
        with pytest.raises(DataError, match="64 pixels have the value #bf0140"):
            find_dataset("avsbench-avss")(tmp_path, "train", 8).item(0)

    @pytest.mark.parametrize("payload", [b"cos\nsystem\n(S'true'\ntR.", pickle.dumps({"a": 1}), b"\x80\x04junk"])
    def test_pickles_that_are_no_arrays(self, tmp_path, payload):
        (tmp_path / "x.pkl").write_bytes(payload)
        with pytest.raises(DataError, match="is refused"):
            read_log_mel(tmp_path / "x.pkl")

    @pytest.mark.parametrize("array", [np.ones((5, 1, 96, 64), np.float32), torch.ones(5, 1, 96, 64)])
    def test_pickles_of_plain_arrays(self, tmp_path, array):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(array))
        assert read_log_mel(tmp_path / "x.pkl").shape == (5, 1, 96, 64)

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "x" * 201])
    def test_ids_that_are_no_names(self, name):
        with pytest.raises(DataError, match="is no clip id"):
            safe_id(name, "here")


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_reader_states_its_facts(name):
    found = find_dataset(name)
    assert found.name == name
    assert found.title in found.__doc__ or name.startswith("f-")
    assert found.source
    assert found.marker_files
    assert set(found.counts) <= set(found.releases)
    for counts in found.counts.values():
        assert set(counts) <= set(found.splits)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_reader_states_how_many_the_official_test_has(name):
    found = find_dataset(name)
    unpublished = {"avqa", "f-music", "f-lifescene"}  # only totals, or shares in percent
    for release in found.releases:
        assert ("test" in found.counts.get(release, {})) == (name not in unpublished), release


def test_readers_know_how_features_are_stored_and_not_how_they_are_made():
    for path in (Path(__file__).parents[1] / "avkit/datasets").glob("*.py"):
        text = path.read_text()
        assert "avkit.extraction" not in text, path.name
        assert "avkit.encoders" not in text, path.name
