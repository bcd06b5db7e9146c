# SPDX-License-Identifier: Apache-2.0
"""`avkit predict` and `avkit index` over a folder by Ray: the results of one process, errors in one line."""

import json

import clips
import pytest
import torch

from avkit.cli import main
from avkit.cli.on_ray import ClipActor
from avkit.cli.predict import parser
from avkit.extraction.ray_passes import LOST, in_two_passes

TINY = ["--data.scenes.train_size", "8", "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]
TINY += ["--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.loader.workers", "0", "--report", "false"]
TINY += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--model.system.width", "16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run that segments, and a folder with two videos and a file that is none."""
    return make_place(tmp_path_factory.mktemp("place"), "avs")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """The same with a run that makes an index."""
    return make_place(tmp_path_factory.mktemp("indexed"), "ra_ssu")


def make_place(folder, task):
    assert main(["fit", "--tasks", task, "--out", str(folder), "--name", "run", *TINY]) == 0
    videos = folder / "videos"
    videos.mkdir()
    for name, hertz in (("a", 440.0), ("b", 880.0)):
        clips.write_clip(videos / f"{name}.mp4", [k / 5 for k in range(10)], 5, sound=clips.tone(2, 16_000, hertz))
    (videos / "c.mp4").write_bytes(b"no video")
    return folder


def words(place, command, out, *more):
    return [command, str(place / "run"), str(place / "videos"), "--out", str(out), "--device", "cpu", *more]


def answers(out):
    files = sorted(out.rglob("result.json"))
    return {file.parent.name: json.loads(file.read_text())["steps"] for file in files}


@pytest.fixture
def without_ray(monkeypatch):
    """Rays actor in this process: its rows are those that a cluster would give."""
    from contextlib import nullcontext

    from avkit.cli import on_ray

    def here(names, rows_of, on_row):
        actor = ClipActor(*here.arguments)
        for name in names:
            row = actor({"name": [name]})
            on_row({key: values[0] for key, values in row.items()})

    def share_of(cluster):
        from avkit.extraction.ray_passes import Share

        return Share("cpu", 0.0, 0.0)

    whole = on_ray._with_whole_paths

    def keep(options, device):
        result = whole(options, device)
        here.arguments = (here.module, result)
        return result

    monkeypatch.setattr(on_ray, "need_ray", lambda: None)
    monkeypatch.setattr(on_ray, "ray_started", lambda cluster: nullcontext())
    monkeypatch.setattr(on_ray, "share_of", share_of)
    monkeypatch.setattr(on_ray, "_with_whole_paths", keep)
    monkeypatch.setattr(on_ray, "in_two_passes", here)
    return here


def test_predictions_are_those_of_one_process(place, without_ray, tmp_path, capsys):
    assert main(words(place, "predict", tmp_path / "one", "--no_video")) == 1
    capsys.readouterr()
    without_ray.module = "avkit.cli.predict"
    assert main(words(place, "predict", tmp_path / "ray", "--no_video", "--ray", "2")) == 1
    shown = capsys.readouterr()
    assert answers(tmp_path / "ray") == answers(tmp_path / "one")
    assert set(answers(tmp_path / "ray")) == {"a", "b"}
    assert "2 of 3 clips predicted" in shown.out
    assert "c.mp4 is not a media file" in shown.err
    assert "report: " in shown.out


@pytest.mark.slow
def test_an_index_is_that_of_one_process(indexed, without_ray, tmp_path, capsys):
    assert main(words(indexed, "index", tmp_path / "one")) == 1
    without_ray.module = "avkit.cli.index"
    assert main(words(indexed, "index", tmp_path / "ray", "--ray", "2")) == 1
    capsys.readouterr()
    names = [sorted(path.name for path in (tmp_path / part / "videos").iterdir()) for part in ("one", "ray")]
    assert names[0] == names[1]
    assert len(names[0]) == 2
    assert main(words(indexed, "index", tmp_path / "ray", "--ray", "2")) == 1
    assert "2 videos, 0 of them new" in capsys.readouterr().out


def test_what_ends_the_command_is_said_once(place, without_ray, tmp_path, capsys):
    without_ray.module = "avkit.cli.predict"
    given = words(place, "predict", tmp_path / "ray", "--ray", "2", "--tasks", "ave")
    assert main(given) == 2
    assert "ave" in capsys.readouterr().err
    given[1] = str(tmp_path / "none")
    assert main(given) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "none" in lines[0]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--ray", "0"], "--ray is 0; give the number of networks"),
        (["--ray", "2", "--ray-gpus", "0"], "--ray-gpus is 0; give a number above 0"),
        (["--ray-gpus", "0.5"], "nothing is asked of Ray. Add --ray N."),
    ],
)
def test_wrong_numbers(more, line, place, tmp_path, capsys):
    assert main(words(place, "predict", tmp_path / "out", *more)) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_clips_that_are_lost_are_tried_again_alone():
    asked = []
    rows = {}

    def rows_of(names, count):
        asked.append((tuple(names), count))
        for name in names:
            if name != "dies" and not (name == "beside" and count > 1):
                yield {"name": name, "error": ""}

    in_two_passes(["a", "beside", "dies"], rows_of, lambda row: rows.setdefault(row["name"], row["error"]))
    assert [names for names, _ in asked] == [("a", "beside", "dies"), ("beside", "dies")]
    assert asked[1][1] == 1
    assert rows == {"a": "", "beside": "", "dies": LOST}


def test_an_actor_tells_why_it_cannot_begin(tmp_path):
    options = parser().parse_args([str(tmp_path / "none"), "x.mp4"])
    row = ClipActor("avkit.cli.predict", options)({"name": ["x.mp4"]})
    assert row["error"] == [""]
    assert str(tmp_path / "none") in row["failure"][0]


@pytest.mark.slow
def test_a_local_cluster(place, indexed, tmp_path, capsys):
    pytest.importorskip("ray")
    assert main(words(place, "predict", tmp_path / "one", "--no_video")) == 1
    assert main(words(place, "predict", tmp_path / "ray", "--no_video", "--ray", "2")) == 1
    assert answers(tmp_path / "ray") == answers(tmp_path / "one")
    assert "2 of 3 clips predicted" in capsys.readouterr().out
    assert main(words(indexed, "index", tmp_path / "index", "--ray", "2")) == 1
    assert "2 videos, 2 of them new" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_networks_share_a_gpu(place, tmp_path, capsys):
    pytest.importorskip("ray")
    given = words(place, "predict", tmp_path / "ray", "--no_video", "--ray", "2", "--ray-gpus", "0.5")
    given[given.index("cpu")] = "cuda"
    assert main(given) == 1
    assert "2 of 3 clips predicted" in capsys.readouterr().out
    assert set(answers(tmp_path / "ray")) == {"a", "b"}
