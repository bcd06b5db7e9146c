# SPDX-License-Identifier: Apache-2.0
"""Predictions for many clips: each result has a folder of its own, and a bad clip costs only itself."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch
from clips import tone, write_clip

import avkit
from avkit.cli import main
from avkit.cli.clips import Shard, find_clips
from avkit.files import WriteError, remove_leftovers
from avkit.inference.index import VECTOR_KINDS, IndexFolder
from avkit.inference.result_folders import REQUEST, Request, claim_folder

TINY = [
    *("--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.batch_size.trimmed", "2", "--data.batch_size.whole", "2", "--data.loader.workers", "0"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--data.image_size", "32"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same tasks."""
    out = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", "1"), ("two", "2")):
        words = ["fit", "--tasks", "avs,avqa,ra_ssu", "--out", str(out), "--name", name, "--seed_everything", seed]
        assert main([*words, *TINY, "--report", "false"]) == 0
    return out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def clip(path, seconds=1):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, [k / 5 for k in range(5 * seconds)], fps=5, sound=tone(seconds, 16_000))


def predict(run, *words):
    return main(["predict", str(run), *map(str, words), "--no_video", "--device", "cpu", "--tasks", "avs"])


def sources(out="predictions"):
    """The clip of each result, by the name of its folder."""
    found = {}
    for path in sorted(Path(out).glob("*/result.json")):
        found[path.parent.name] = json.loads(path.read_text())["source"]
    return found


def test_clips_of_one_name_have_a_result_each(runs, folder, capsys):
    clip("garden/horn.mp4")
    clip("street/horn.mp4", seconds=2)
    assert predict(runs / "one", "garden/horn.mp4", "street/horn.mp4") == 0
    assert sources() == {"horn": "garden/horn.mp4", "horn-street": "street/horn.mp4"}
    said = capsys.readouterr().out
    assert "report: predictions/horn/report.html" in said
    assert "report: predictions/horn-street/report.html" in said
    # the same again, in another order, finds the same folders
    assert predict(runs / "one", "street/horn.mp4", "garden/horn.mp4") == 0
    assert sources() == {"horn": "garden/horn.mp4", "horn-street": "street/horn.mp4"}


def test_runs_and_options_have_a_result_each(runs, folder):
    clip("horn.mp4")
    assert predict(runs / "one", "horn.mp4") == 0
    first = Path("predictions/horn/result.json").read_bytes()
    assert predict(runs / "two", "horn.mp4") == 0
    assert predict(runs / "one", "horn.mp4", "--hop", "0.5") == 0
    assert predict(runs / "one", "horn.mp4", "--stream") == 0
    assert Path("predictions/horn/result.json").read_bytes() == first
    assert {path.name for path in Path("predictions").iterdir()} == {"horn", "horn-two", "horn-2", "horn-3"}
    provenance = json.loads(Path("predictions/horn-two/result.json").read_text())["provenance"]
    assert provenance["run"] == str(runs / "two")
    request = json.loads(Path("predictions/horn-3/request.json").read_text())
    assert request["clip"] == str(folder / "horn.mp4")
    assert request["options"]["stream"] is True


def test_a_changed_clip_or_another_ending_has_a_result_of_its_own(runs, folder):
    clip("horn.mp4")
    assert predict(runs / "one", "horn.mp4") == 0
    clip("horn.mp4", seconds=2)
    clip("horn.mkv")
    assert predict(runs / "one", "horn.mp4", "horn.mkv") == 0
    assert sorted(sources().values()) == ["horn.mkv", "horn.mp4", "horn.mp4"]


def test_a_result_of_an_earlier_avkit_is_kept(runs, folder):
    clip("horn.mp4")
    assert predict(runs / "one", "horn.mp4") == 0
    (folder / "predictions/horn" / REQUEST).unlink()
    old = Path("predictions/horn/result.json").read_bytes()
    assert predict(runs / "one", "horn.mp4") == 0
    assert Path("predictions/horn/result.json").read_bytes() == old
    assert list(sources()) == ["horn", "horn-2"]


def test_folders_and_patterns(runs, folder, capsys):
    clip("videos/a.mp4")
    clip("videos/deep/er/a.MKV")
    clip("videos/.hidden.mp4")
    Path("videos/notes.txt").write_text("no clip")
    assert predict(runs / "one", "videos/") == 0
    assert sources() == {"a": "videos/a.mp4", "a-er": "videos/deep/er/a.MKV"}
    assert "2 of 2 clips predicted, under predictions" in capsys.readouterr().out
    assert predict(runs / "one", "videos/**/*.MKV", "videos", "--out", "p") == 0
    assert len(sources("p")) == 2, "each clip once"
    # results inside the folder are no clips
    assert main(["predict", str(runs / "one"), ".", "--tasks", "avs", "--device", "cpu"]) == 0  # with their videos
    assert {Path(source).name for source in sources().values()} == {"a.mp4", "a.MKV"}
    assert predict(runs / "one", ".", "--out", "q") == 0
    assert len(sources("q")) == 2


def test_bad_clips_among_good_ones_cost_only_themselves(runs, folder, capsys):
    clip("good.mp4")
    Path("broken.mp4").write_bytes(b"no video at all")
    Path("empty.mp4").touch()
    Path("folder.mp4").mkdir()
    write_clip("silent.mp4", [0, 0.2, 0.4], fps=5)
    words = ["broken.mp4", "empty.mp4", "folder.mp4", "silent.mp4", "gone.mp4", "*.avi", "good.mp4"]
    for options in ([], ["--stream"]):
        assert predict(runs / "one", *words, *options) == 1
        captured = capsys.readouterr()
        assert "6 of 7 clips could not be read" in captured.err
        assert "1 of 7 clips predicted" in captured.out
        assert "Traceback" not in captured.err
        for name in ("broken.mp4", "empty.mp4", "folder.mp4", "silent.mp4", "gone.mp4", "*.avi"):
            assert name in captured.err
    assert sorted(path.name for path in Path("predictions").iterdir() if path.is_dir()) == ["good", "good-2"]


def test_one_word_that_means_nothing(runs, folder, capsys):
    Path("empty").mkdir()
    for word, message in (("empty", "has no videos"), ("*.mp4", "No file matches"), ("x.mp4", "does not exist")):
        assert predict(runs / "one", word) == 2
        assert message in capsys.readouterr().err
    assert not Path("predictions").exists()


def test_several_processes_never_share_a_folder(tmp_path):
    requests = [Request(f"/videos/{number}/horn.mp4", 1, 2, "run", "w") for number in range(12)]
    with ThreadPool(12) as pool:
        claimed = pool.map(lambda request: claim_folder(tmp_path, request), requests)
    assert len(set(claimed)) == len(requests)
    assert [claim_folder(tmp_path, request) for request in requests] == claimed


def test_a_kill_while_a_folder_is_claimed_leaves_no_claim(tmp_path):
    code = "import os, signal, sys; from pathlib import Path; from avkit.inference import result_folders\n"
    code += "from avkit import files\n"
    code += "files.os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "result_folders.claim_folder(Path(sys.argv[1]), result_folders.Request('/v/horn.mp4', 1, 2, 'run', 'w'))"
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert [path.name[0] for path in (tmp_path / "horn").iterdir()] == ["."]
    request = Request("/v/horn.mp4", 1, 2, "run", "w")
    assert claim_folder(tmp_path, request) == tmp_path / "horn"
    assert claim_folder(tmp_path, request) == tmp_path / "horn"
    assert remove_leftovers(tmp_path) != []
    assert [path.name for path in (tmp_path / "horn").iterdir()] == [REQUEST]


def test_a_folder_is_claimed_where_files_have_one_name_only(tmp_path, monkeypatch):
    def refuse(path, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    requests = [Request(f"/videos/{number}/horn.mp4", 1, 2, "run", "w") for number in range(3)]
    claimed = [claim_folder(tmp_path, request) for request in requests]
    assert [path.name for path in claimed] == ["horn", "horn-1", "horn-2"]
    assert [claim_folder(tmp_path, request) for request in requests] == claimed


def test_names_that_are_no_folder_names(tmp_path):
    names = ["..mp4", ".mp4", "...", "horn"]
    (tmp_path / "horn").write_text("a file")
    folders = [claim_folder(tmp_path, Request(f"/v/{name}", 1, 2, "run", "w")) for name in names]
    assert len(set(folders)) == len(names)
    assert all(folder.parent == tmp_path and folder.is_dir() for folder in folders)


def test_save_does_not_replace_another_result(runs, folder):
    predictor = avkit.load(runs / "one", device="cpu")
    first = predictor.predict(clip("a.mp4"), ["avs"])
    second = predictor.predict(clip("b.mp4", seconds=2), ["avs"])
    first.save("out", video=False)
    first.save("out", video=False)
    with pytest.raises(WriteError, match=r"out holds another result: its source is a\.mp4, and not b\.mp4"):
        second.save("out", video=False)
    second.save("out", video=False, overwrite=True)
    assert json.loads(Path("out/result.json").read_text())["source"] == "b.mp4"


def test_index_takes_the_same_words(runs, folder, capsys):
    clip("videos/a.mp4")
    clip("videos/deep/a.mp4", seconds=2)
    Path("videos/bad.mp4").touch()
    assert main(["index", str(runs / "one"), "videos/*/*.mp4", "videos", "none/*", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert "2 videos, 2 of them new" in captured.out
    assert "2 of 4 videos could not be read" in captured.err
    assert len(list(Path("index/videos").iterdir())) == 2


def test_shards_are_disjoint_whole_and_stable(tmp_path):
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "clip.mp4").touch()
    every, _ = find_clips([tmp_path], Path("out"))
    parts = [find_clips([tmp_path], Path("out"), Shard(number, 3))[0] for number in (1, 2, 3)]
    assert sorted(path for part in parts for path in part) == sorted(every)
    assert min(len(part) for part in parts) > 1
    (tmp_path / "d0" / "another.mp4").touch()
    for part, number in zip(parts, (1, 2, 3), strict=True):
        assert set(part) <= set(find_clips([tmp_path], Path("out"), Shard(number, 3))[0])
    assert [len(find_clips(["absent.mp4" + "*"], Path("out"), Shard(number, 2))[1]) for number in (1, 2)] == [1, 0]


def result_of(path):
    """What a result says, but for how long it took."""
    result = json.loads(path.read_text())
    return {name: value for name, value in result.items() if name not in ("seconds", "speed")}


def test_shards_write_into_one_folder_what_the_whole_writes(runs, folder):
    for name in ("a/horn", "b/horn", "c/cat"):
        clip(f"videos/{name}.mp4")
    for words, out in ((["--shard", "2/2"], "parts"), (["--shard", "1/2"], "parts"), ([], "whole")):
        assert predict(runs / "one", "videos", "--out", out, *words) == 0
        assert main(["index", str(runs / "one"), "videos", "--out", f"{out}-index", "--device", "cpu", *words]) == 0
    results = {}
    for out in ("parts", "whole"):
        paths = sorted(Path(out).glob("*/result.json"))
        results[out] = {result["source"]: result for result in map(result_of, paths)}
        assert (len(paths), len(results[out])) == (3, 3)
    assert results["parts"] == results["whole"]
    parts, whole = IndexFolder("parts-index"), IndexFolder("whole-index")
    assert parts.facts == whole.facts
    assert len(whole.read()) == 3
    for one, other in zip(parts.read(), whole.read(), strict=True):
        assert (one.video, one.captions) == (other.video, other.captions)
        assert torch.equal(one.masks, other.masks)
        assert all(torch.equal(one.vectors[kind], other.vectors[kind]) for kind in VECTOR_KINDS)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_parts_that_there_are_not_are_refused(capsys, text):
    with pytest.raises(SystemExit):
        main(["index", "run", "videos", "--shard", text])
    assert f"{text!r} is no part. Give its number and how many there are" in capsys.readouterr().err


def test_find_clips_keeps_the_order(folder):
    for name in ("b/1.mp4", "b/0.mp4", "a.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    clips, errors = find_clips(["b", "a.mp4", folder / "b/1.mp4"], Path("out"))
    assert clips == [Path("b/0.mp4"), Path("b/1.mp4"), Path("a.mp4")]
    assert not errors
    shutil.rmtree("b")
