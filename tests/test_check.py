# SPDX-License-Identifier: Apache-2.0
"""`avkit check`: what it finds on a disk where things went wrong."""

import json
import shutil

import numpy as np
import pytest

from avkit.cli import main
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    for layout in ("llp", "unav100", "avsbench-s4"):
        export(layout, out / layout, {"train": 2, "val": 1, "test": 2}, 24, fps=2)
    return out


@pytest.fixture
def copy(made, tmp_path):
    def folder(layout):
        return shutil.copytree(made / layout, tmp_path / layout)

    return folder


def check(capsys, *words):
    code = main(["check", *map(str, words), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def faults(state):
    return [(p["split"], p["what"], p["count"]) for p in state["problems"] if p["fatal"]]


@pytest.mark.parametrize("layout", ["llp", "unav100", "avsbench-s4"])
def test_all_is_there(made, capsys, layout):
    code, state = check(capsys, layout, "--root", made / layout)
    assert (code, state["ok"], faults(state)) == (0, True, [])
    assert [(s["split"], s["listed"], s["present"]) for s in state["splits"]] == [
        ("train", 2, 2),
        ("val", 1, 1),
        ("test", 2, 2),
    ]


def test_what_is_missing_is_counted_by_split(copy, capsys):
    root = copy("llp")
    for folder, ending in (("video", ".mp4"), ("audio", ".wav")):
        next(p for p in (root / folder).iterdir() if p.name.startswith("scne")).with_suffix(ending).unlink()
    gone = [p for p in (root / "video").iterdir() if p.name.startswith("scnt")]
    gone[0].unlink()
    code, state = check(capsys, "llp", "--root", root)
    assert code == 1
    assert ("train", "clips lack pictures", 1) in faults(state)
    assert ("test", "clips lack pictures", 1) in faults(state)
    assert {s["split"]: s["present"] for s in state["splits"]} == {"train": 1, "val": 1, "test": 1}
    assert "YapengTian/AVVP-ECCV20" in state["source"]
    code, state = check(capsys, "llp", "--root", root, "--visual", "res152", "--audio", "vggish")
    assert code == 0, "features are there"


def test_files_that_cannot_be_read(copy, capsys):
    root = copy("unav100")
    videos = sorted((root / "raw_videos").iterdir())
    videos[0].write_bytes(b"")
    whole = videos[1].read_bytes()
    videos[1].write_bytes(whole[: len(whole) // 2])
    code, state = check(capsys, "unav100", "--root", root)
    assert code == 1
    assert sum(count for _, what, count in faults(state) if what == "files cannot be read") == 2
    code, state = check(capsys, "unav100", "--root", root, "--quick")
    assert code == 0, "names alone are looked at"


def test_videos_that_end_early(copy, capsys):
    root = copy("unav100")
    path = root / "annotations/unav100_annotations.json"
    content = json.loads(path.read_text())
    name, video = next(iter(content["database"].items()))
    video["duration"] += 5
    path.write_text(json.dumps(content))
    _, state = check(capsys, "unav100", "--root", root)
    problem = next(p for p in state["problems"] if "before their labels" in p["what"])
    assert problem["examples"] == [f"{name}.mp4"]


def test_masks_are_opened(copy, capsys):
    root = copy("avsbench-s4")
    mask = next((root / "s4_data/gt_masks/test").rglob("*_3.png"))
    mask.write_bytes(b"no picture")
    _, state = check(capsys, "avsbench-s4", "--root", root)
    assert faults(state) == [("test", "files cannot be read", 1)]


def test_features_of_another_hop(copy, capsys):
    root = copy("unav100")
    for path in (root / "av_features").glob("*_vggish.npy"):
        np.save(path, np.load(path)[::3])
    _, state = check(capsys, "unav100", "--root", root)
    what = "features vggish: hop 0.96 s (VGGish's usual hop); UnAV-100 uses 0.32 s"
    assert faults(state) == [("", what, 5)]


def test_features_of_another_width_or_length(copy, capsys):
    root = copy("llp")
    paths = sorted((root / "feats/vggish").iterdir())
    np.save(paths[0], np.zeros((10, 64), np.float32))
    np.save(paths[1], np.zeros((9, 128), np.float32))
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    _, state = check(capsys, "llp", "--root", root)
    assert faults(state) == [
        ("", "features vggish cannot be read", 1),
        ("", "features vggish are (10, 64); LLP uses (10, 128)", 1),
        ("", "features vggish have 9 rows; LLP uses 10", 1),
    ]


def test_a_store_of_another_hop(copy, capsys, tmp_path):
    root = copy("unav100")
    names = [p.name.removesuffix("_vggish.npy") for p in (root / "av_features").glob("*_vggish.npy")]
    clips = [(name, np.zeros((20, 128), np.float32)) for name in names]
    store = write_store(tmp_path / "vggish.h5", clips, FeatureFacts("vggish", 0.96, 0.96))
    _, state = check(capsys, "unav100", "--root", root, "--audio", store)
    assert any(
        "vggish.h5: hop 0.96 s (VGGish's usual hop); UnAV-100 uses 0.32 s" in p["what"] for p in state["problems"]
    )


def test_a_split_without_its_file(copy, capsys):
    root = copy("llp")
    (root / "AVVP_val_pd.csv").unlink()
    code, state = check(capsys, "llp", "--root", root, "--quick")
    assert code == 0
    assert [s["split"] for s in state["splits"]] == ["train", "test"]
    assert any("AVVP_val_pd.csv" in p["what"] for p in state["problems"])


def test_what_cannot_be_checked(tmp_path, capsys):
    for words, message in (
        (["check", "llp", "--root", str(tmp_path)], "none of AVVP_train.csv"),
        (["check", "lpl", "--root", str(tmp_path)], "Did you mean 'llp'"),
        (["check", "llp"], "Name the folder of LLP with --root"),
        (["check", "scenes"], "needs no check"),
        (["check", "manifest"], "Name the file with --manifest"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err


def test_damaged_splits_are_named_where_no_split_can_be_read(tmp_path, capsys):
    for split in ("val", "test"):
        (tmp_path / f"avqa-{split}.json").write_text('[{"video_id": null}]')
    assert main(["check", "music-avqa", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "avqa-val.json, record 0, field 'video_id': is None and not a text" in error
    assert "Also: " in error
    assert "avqa-test.json, record 0" in error


def test_the_table(made, capsys):
    assert main(["check", "llp", "--root", str(made / "llp")]) == 0
    out = capsys.readouterr().out
    assert "coverage" in out
    assert "100.0 %" in out
    assert "all is there and can be read" in out
