# SPDX-License-Identifier: Apache-2.0
"""`avkit build`: clips of f-Music and f-Lifescene from folders of videos."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import clips as media
import numpy as np
import pytest

from avkit.cli import main
from avkit.corpora.clips import ClipFormat, build_clips, mix
from avkit.corpora.plan import CorpusRecipe, make_plan, shuffle_videos
from avkit.corpora.videos import INSTRUMENTS, SourceVideo, music_videos
from avkit.datasets import find_dataset
from avkit.errors import DataError
from avkit.media import decode


def video(path, seconds=3.0, hertz=440.0, fps=10, colour=0):
    pictures = [np.full((32, 48, 3), (colour, k * 8, 0), np.uint8) for k in range(round(seconds * fps))]
    sound = media.tone(seconds, 16_000, hertz)
    path.parent.mkdir(parents=True, exist_ok=True)
    return media.write_clip(path, [k / fps for k in range(len(pictures))], fps, pictures, sound)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder like MUSIC-AVQA: six videos of one instrument, two of both, one that nothing is said of."""
    root = tmp_path_factory.mktemp("music")
    records = []

    def ask(name, text, values, answer, kind=("Visual", "Counting")):
        records.append(
            {
                "video_id": name,
                "question_id": len(records),
                "type": json.dumps(kind),
                "question_content": text,
                "templ_values": json.dumps(values),
                "question_deleted": 0,
                "anser": answer,
            }
        )

    for k in range(8):
        name, own = f"{k:08d}", ["violin", "flute"][k % 2]
        video(root / f"video/{name}.mp4", hertz=300 + 50 * k, colour=30 * k)
        ask(name, "Is there a <Object> in the entire video?", [own], "yes")
        ask(name, "Is there a <Object> in the entire video?", ["tuba"], "no")
        ask(name, "How many sounding <Object> in the video\uff1f", ["banjo"], "zero", ("Audio-Visual", "Counting"))
        if k > 5:
            ask(name, "What kind of musical instrument is it?", [], ["flute", "violin"][k % 2], ("Visual", "Location"))
    (root / "json_update").mkdir()
    for split, part in (("train", records[:10]), ("val", records[10:14]), ("test", records[14:])):
        (root / f"json_update/avqa-{split}.json").write_text(json.dumps(part))
    return root


SMALL = ["--side", "32", "--fps", "10", "--seconds", "2", "--overlay", "2", "--stitched", "2"]


def test_instruments_are_those_that_questions_say_are_there(music):
    found = {c.name: c.labels for c in music_videos(music)}
    assert found == {
        **{f"{k:08d}": (["violin", "flute"][k % 2],) for k in range(6)},
        "00000006": ("flute", "violin"),
        "00000007": ("flute", "violin"),
    }


def test_clips_are_what_the_reader_takes(music, tmp_path, capsys):
    assert main(["build", "f-music", "--root", str(music), "--out", str(tmp_path / "f"), *SMALL]) == 0
    out = capsys.readouterr().out
    assert "masks and sentences are still missing" in out
    kinds, names = set(), []
    for split in ("train", "val", "test"):
        path = tmp_path / f"f/splits/{split}.txt"
        if not path.read_text().strip():
            continue
        data = find_dataset("f-music")(tmp_path / "f", split, 32)
        for k, annotation in enumerate(data.annotations):
            item = data.item(k)
            assert item.frames.shape == (2, 3, 32, 32)
            assert item.waveform.abs().max() > 0.1
            kinds.add(annotation.kind)
            names.append(annotation.id)
            info = decode.probe(tmp_path / "f/clips" / annotation.id / "video.mp4")
            assert (info.size, round(info.fps)) == ((32, 32), 10)
            assert info.duration == pytest.approx(2.0, abs=0.1)
        assert "mask" not in data.provides, "nobody has annotated them"
    assert kinds == {"single", "multi", "overlay", "stitched"}
    assert len(names) == len(set(names)) == 12
    facts = json.loads((tmp_path / "f/dataset.json").read_text())
    assert (facts["classes"], facts["fps"], facts["size"]) == (["flute", "violin"], 10, [32, 32])


def test_annotations_join_in(music, tmp_path):
    from PIL import Image

    assert main(["build", "f-music", "--root", str(music), "--out", str(tmp_path / "f"), *SMALL]) == 0
    split = next(s for s in ("train", "val", "test") if (tmp_path / f"f/splits/{s}.txt").read_text().strip())
    for name in (tmp_path / f"f/splits/{split}.txt").read_text().split():
        clip = tmp_path / "f/clips" / name
        (clip / "masks").mkdir()
        Image.fromarray(np.ones((32, 32), np.uint8)).save(clip / "masks/00005.png")
        (clip / "captions.jsonl").write_text('{"frame": 0, "source": 1, "text": "it plays"}\n')
    item = find_dataset("f-music")(tmp_path / "f", split, 32).item(0)
    assert item.targets["mask_known"].tolist() == [True, False]
    assert item.targets["mask"][0].min() == 1
    assert item.targets["caption"] == ["it plays", "it plays"]


def test_the_same_seed_gives_the_same_clips(music, tmp_path):
    for name, more in (("a", []), ("b", ["--workers", "1"]), ("c", ["--seed", "7"])):
        assert main(["build", "f-music", "--root", str(music), "--out", str(tmp_path / name), *SMALL, *more]) == 0

    def content(name):
        root, out = tmp_path / name, {}
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            out[str(path.relative_to(root))] = path if path.suffix == ".mp4" else path.read_bytes()
        return out

    one, two = content("a"), content("b")
    assert one.keys() == two.keys()
    for name, x in one.items():
        if isinstance(x, bytes):
            assert x == two[name], name
        else:  # FFmpeg codes pictures fast, not exactly
            a, b = (decode.read_frames(path, rate=10).numpy().astype(int) for path in (x, two[name]))
            assert np.abs(a - b).max() <= 8
            assert np.abs(a - b).mean() < 0.1
    assert content("a").keys() != content("c").keys()


def test_what_is_there_is_not_made_again(music, tmp_path):
    words = ["build", "f-music", "--root", str(music), "--out", str(tmp_path / "f"), *SMALL]
    assert main(words) == 0
    whole = {p: p.stat().st_mtime_ns for p in (tmp_path / "f/clips").rglob("video.mp4")}
    clip = sorted(whole)[3].parent
    (clip / "meta.json").unlink()  # as a process leaves it that is killed before the last file
    assert main(words) == 0
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "f/clips").rglob("video.mp4")}
    assert [p.parent for p in whole if again[p] != whole[p]] == [clip]
    assert main([*words, "--side", "64"]) == 2, "another form does not mix with it"


def test_broken_videos_are_told(music, tmp_path, capsys):
    root = shutil.copytree(music, tmp_path / "m")
    (root / "video/00000000.mp4").write_bytes(b"")
    video(root / "video/00000001.mp4", seconds=0.5)
    words = ["build", "f-music", "--root", str(root), "--out", str(tmp_path / "f"), *SMALL, "--overlay", "0"]
    assert main([*words, "--stitched", "0"]) == 1
    err = capsys.readouterr().err
    assert "is empty (0 bytes)" in err
    assert "lasts 0.50 s; a clip lasts 2 s" in err
    assert "2 clips could not be made" in err
    listed = "".join((tmp_path / f"f/splits/{s}.txt").read_text() for s in ("train", "val", "test"))
    assert "00000000" not in listed


def test_stitched_and_overlaid(music, tmp_path):
    a, b = (SourceVideo(n, music / f"video/{n}.mp4", (x,)) for n, x in (("00000000", "violin"), ("00000005", "flute")))
    plan = make_plan([a, b], CorpusRecipe(overlay=1, stitched=1, shares=(1, 0, 0)), INSTRUMENTS)
    assert [c.kind for c in plan.clips] == ["single", "single", "overlay", "stitched"]
    assert build_clips(plan, "f-music", tmp_path, ClipFormat(2.0, 10, 32), 1).done == 4
    read = {
        c.kind: decode.read_clip(tmp_path / "clips" / c.name / "video.mp4") for c in plan.clips if c.kind != "single"
    }
    halves = read["stitched"].frames[0, 0].float()
    red = {c.parts[0].name: 30 * int(c.parts[0].name) for c in plan.clips}
    first, second = (c.name for c in plan.clips[3].parts)
    assert halves[:, :14].mean() == pytest.approx(red[first], abs=12)
    assert halves[:, 18:].mean() == pytest.approx(red[second], abs=12)
    spectrum = np.abs(np.fft.rfft(read["overlay"].waveform.numpy()[:32_000]))
    peaks = np.sort(np.argsort(spectrum)[-2:]) / 2
    assert peaks == pytest.approx([300, 550], abs=3), "both are heard"
    meta = json.loads((tmp_path / "clips" / plan.clips[3].name / "meta.json").read_text())
    assert meta["origin"] == [first, second]
    assert {s["label"] for s in meta["sources"]} == {"violin", "flute"}


def test_clips_of_one_video_do_not_overlap(music, tmp_path):
    words = ["build", "f-music", "--root", str(music), "--out", str(tmp_path / "f"), "--side", "32", "--fps", "10"]
    words += ["--seconds", "1", "--overlay", "0", "--stitched", "0", "--fill", "7"]
    assert main(words) == 0
    starts, splits = {}, {}
    for split in ("train", "val", "test"):
        for name in (tmp_path / f"f/splits/{split}.txt").read_text().split():
            meta = json.loads((tmp_path / "f/clips" / name / "meta.json").read_text())
            if meta["kind"] == "single":
                starts.setdefault(meta["origin"][0], []).append((meta["starts"][0], name))
                assert splits.setdefault(meta["origin"][0], split) == split
    assert Counter(len(places) for places in starts.values()) == {2: 4, 3: 2}, "7 clips of 3 videos each, twice"
    for places in starts.values():
        times = [start for start, _ in sorted(places)]
        assert all(after - before >= 1 - 1e-6 for before, after in pairwise(times))
        assert times[-1] <= 2 + 0.1
        for start, name in places:  # pictures grow greener by 8 in a tenth of a second
            frames = decode.read_frames(tmp_path / "f/clips" / name / "video.mp4", rate=10)
            assert frames[0, 1].float().mean() == pytest.approx(80 * start, abs=10)


def test_mixed_sounds_are_equally_loud_and_never_clip():
    loud, quiet = (media.tone(1, 16_000, 440, a) for a in (0.9, 0.05))
    out = mix([loud, quiet])
    assert np.abs(out).max() <= 1
    assert np.array_equal(mix([loud]), loud)


class TestPlan:
    """What is chosen, as a function of what is there."""

    def videos(self, count=60, labels=("a", "b", "c")):
        return [SourceVideo(f"v{k}", Path(f"v{k}.mp4"), (labels[k % len(labels)],)) for k in range(count)]

    def test_splits_share_no_video(self):
        plan = make_plan(self.videos(), CorpusRecipe(), ["a", "b", "c"])
        where = {}
        for clip in plan.clips:
            for part in clip.parts:
                assert where.setdefault(part.name, clip.split) == clip.split

    def test_shares_hold_for_every_keyword(self):
        plan = make_plan(
            self.videos(300), CorpusRecipe(overlay=0, stitched=0, shares=(0.7, 0.15, 0.15)), ["a", "b", "c"]
        )
        for label in "abc":
            counts = [sum(c.split == s and c.labels == [label] for c in plan.clips) for s in ("train", "val", "test")]
            assert counts == pytest.approx([70, 15, 15], abs=1)

    def test_types_are_balanced_whatever_is_chosen(self):
        videos = self.videos(3000)
        plan = make_plan(videos, CorpusRecipe(overlay=100, stitched=100, shares=(0.7, 0.15, 0.15)), ["a", "b", "c"])
        for split, want in (("train", 70), ("val", 15), ("test", 15)):
            for kind, count in (("single", want), ("overlay", None), ("stitched", None)):
                clips = [clip for clip in plan.clips if clip.split == split and clip.kind == kind]
                first = Counter(clip.parts[0].labels for clip in clips)
                assert len(first) == 3
                assert max(first.values()) - min(first.values()) <= (0 if count else 1)
                assert not count or set(first.values()) == {count}

    def test_few_videos_give_several_clips_each_in_one_split(self):
        videos = [replace(video, seconds=60.0) for video in self.videos(30, ("a",))]
        plan = make_plan(videos, CorpusRecipe(overlay=0, stitched=0), ["a"])
        assert len(plan.clips) == len({clip.name for clip in plan.clips}) == 50
        split_of = {}
        for clip in plan.clips:
            assert split_of.setdefault(clip.parts[0].name, clip.split) == clip.split
            assert clip.windows == sum(other.parts == clip.parts for other in plan.clips)
        assert len(split_of) == 30
        counts = Counter(clip.split for clip in plan.clips)
        assert [counts[split] for split in ("train", "val", "test")] == pytest.approx([37.5, 5, 7.5], abs=1)
        assert max(clip.windows for clip in plan.clips) <= 3

    def test_no_clip_is_made_where_there_is_no_room(self):
        videos = [replace(video, seconds=25.0) for video in self.videos(4, ("a",))]
        plan = make_plan([*videos, *self.videos(60, ("b",))], CorpusRecipe(overlay=0, stitched=0), ["a", "b"])
        counts = Counter(clip.labels[0] for clip in plan.clips)
        assert counts == {"a": 8, "b": 60}
        assert plan.notes == ["fewer than 50 clips fit into the videos of a (8)"]
        unknown = make_plan(self.videos(4, ("a",)), CorpusRecipe(overlay=0, stitched=0), ["a"])
        assert [clip.name for clip in unknown.clips] == [
            v.name for v in shuffle_videos(self.videos(4, ("a",)), 0, "single")
        ]

    def test_one_clip_of_a_video_is_what_it_was_where_there_are_enough(self):
        videos = [replace(video, seconds=60.0) for video in self.videos(180)]
        plan = make_plan(videos, CorpusRecipe(), ["a", "b", "c"])
        before = make_plan(videos, CorpusRecipe(fill=0), ["a", "b", "c"])
        assert plan.clips == before.clips

    def test_no_more_than_asked_for(self):
        plan = make_plan(
            self.videos(), CorpusRecipe(single=5, overlay=3, stitched=0, shares=(1, 0, 0)), ["a", "b", "c"]
        )
        kinds = [c.kind for c in plan.clips]
        assert (kinds.count("single"), kinds.count("overlay")) == (15, 3)

    def test_rare_keywords_are_left_out_and_told(self):
        plan = make_plan([*self.videos(), SourceVideo("z", Path("z"), ("d",))], CorpusRecipe(min_clips=2), list("abcd"))
        assert plan.classes == ["a", "b", "c"]
        assert any("d: 1 clips, fewer than 2" in note for note in plan.notes)

    def test_the_order_of_the_disk_does_not_matter(self):
        one = make_plan(self.videos(), CorpusRecipe(), ["a", "b", "c"])
        two = make_plan(self.videos()[::-1], CorpusRecipe(), ["c", "a", "b"])
        assert one.clips == two.clips

    def test_pairs_are_of_different_keywords(self):
        plan = make_plan(self.videos(), CorpusRecipe(overlay=20, stitched=20), ["a", "b", "c"])
        assert all(len(c.labels) == 2 for c in plan.clips if c.kind in ("overlay", "stitched"))

    def test_no_video_of_a_keyword(self):
        with pytest.raises(DataError, match="None of 60 videos has one of the keywords"):
            make_plan(self.videos(), CorpusRecipe(), ["q"])


def test_vggsound(tmp_path, capsys):
    rows = []
    for k in range(4):
        name = f"-abcdefghi{k}"
        video(tmp_path / f"video/{name}_{30 * k:06d}.mp4", colour=40 * k)
        rows.append(f'{name},{30 * k},"{["cat purring", "playing drum kit, live"][k % 2]}",train')
    (tmp_path / "vggsound.csv").write_text("\n".join([*rows, "zzzzzzzzzzz,0,cat purring,test"]))
    words = ["build", "f-lifescene", "--root", str(tmp_path), "--out", str(tmp_path / "out"), *SMALL]
    assert main([*words, "--plan"]) == 0
    assert not (tmp_path / "out").exists()
    assert main(words) == 0
    assert json.loads((tmp_path / "out/dataset.json").read_text())["classes"] == [
        "cat purring",
        "playing drum kit, live",
    ]
    metas = [json.loads(path.read_text()) for path in sorted((tmp_path / "out/clips").glob("*/meta.json"))]
    for kind in ("overlay", "stitched"):
        made = [meta for meta in metas if meta["kind"] == kind]
        assert len(made) == 1  # four videos have no more pairs in one split
        for meta in made:
            labels = {entry["source"]: entry["label"] for entry in meta["sources"]}
            assert sorted(labels.values()) == ["cat purring", "playing drum kit, live"]
            assert len(set(meta["origin"])) == 2
            path = tmp_path / f"out/clips/{meta['id']}/video.mp4"
            clip = decode.read_clip(decode.open_clip(path), 1.0, 32)
            assert (clip.steps, tuple(clip.frames.shape[1:])) == (2, (3, 32, 32))
            red = clip.frames[:, 0].float().mean((0, 1))
            halves = abs(float(red[:12].mean() - red[20:].mean()))
            assert (halves > 25) == (kind == "stitched")  # two pictures side by side, or one
    assert main([*words, "--keywords", "cat puring"]) == 2
    assert "Did you mean 'cat purring'" in capsys.readouterr().err
    assert main([*words, "--side", "33"]) == 2
    assert main(["build", "f-lifescene", "--root", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert "Get it from hche11/VGGSound" in capsys.readouterr().err
