# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the authors' layout and size see real clips: converted, then asked, with tiny encoders of features.

The encoders have the widths and the inputs of the published ones, so that every recipe runs as it is.
"""

import json

import pytest
import torch
from published_widths import use_tiny_encoders

from avkit.cli import main
from avkit.inference import stream_choice
from avkit.systems import find_network

QUESTION = "how many instruments are sounding in the video"
DENSE = {"visual": 2048, "audio": 128, "classes": 100, "length": 224}
CLIPS = {
    "davel": "unav/--HuBNHXu9I.mp4",
    "avvp": "llp/video/BjCEufrlXm4.mp4",
    "ave": "crab/ave/-67UNKFmRLk.mp4",
    "avqa": "avqa/video/004NnY1farU_000030.mp4",
}
#: By case: system, sizes and options that are no defaults, task, steps and hop of the clip.
CASES = {
    "ccnet_i3d": ("ccnet", DENSE, "davel", 185, 0.32),
    "ccnet_one_peace": (
        "ccnet",
        {"visual": 1536, "audio": 1536, "classes": 100, "length": 256},
        "davel",
        237,
        0.25,
    ),
    "unav": ("unav", DENSE, "davel", 185, 0.32),
    "uniav": ("uniav", {"visual": 1536, "audio": 1536, "classes": 100, "text": 1536}, "davel", 237, 0.25),
    "han": ("han", {}, "avvp", 10, 1.0),
    "mm_pyramid": ("mm_pyramid", {}, "avvp", 10, 1.0),
    "avel": ("avel", {}, "ave", 10, 1.0),
    "psp": ("psp", {}, "ave", 10, 1.0),
    "tspm": ("tspm", {}, "avqa", 10, 1.0),
    "pstp": ("pstp", {}, "avqa", 10, 1.0),
    "avst": ("avst", {}, "avqa", 10, 1.0),
}


@pytest.fixture(autouse=True)
def _tiny_encoders(monkeypatch):
    use_tiny_encoders(monkeypatch)
    stream_choice.stream_width.cache_clear()
    yield
    stream_choice.stream_width.cache_clear()


def official_file(case, folder):
    """A checkpoint with random weights as the authors' training scripts write it."""
    name, sizes, *_ = CASES[case]
    torch.manual_seed(0)
    network = find_network(name).build(**sizes)
    state = {f"module.{key}": x for key, x in network.to_official().items()}
    if name in ("ccnet", "unav", "uniav"):
        state = {"epoch": 39, "state_dict": state, "state_dict_ema": state, "scheduler": {}, "optimizer": {}}
    path = folder / f"{case}.pth"
    torch.save(state, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_official_checkpoint_sees_a_real_clip(case, real, tmp_path, capsys):
    name, _, task, steps, hop = CASES[case]
    if name == "avst":  # whose network has torchvision's ResNet in it
        pytest.importorskip("torchvision", exc_type=ImportError)
    official = official_file(case, tmp_path)
    converted = tmp_path / "converted.safetensors"
    assert main(["convert", name, str(official), "-o", str(converted)]) == 0
    official.unlink()
    clip = real / "clips" / CLIPS[task]
    words = ["predict", str(converted), str(clip), "--weights", "none", "--device", "cpu", "--no_video"]
    words += ["--out", str(tmp_path / "out")]
    if task == "avqa":
        words += ["--question", QUESTION]
    assert main(words) == 0, capsys.readouterr().err
    converted.unlink()
    folder = tmp_path / "out" / clip.stem
    record = json.loads((folder / "result.json").read_text())
    assert record["tasks"] == [task]
    assert (len(record["steps"]), record["hop"]) == (steps, hop)
    assert "random weights" in record["warning"]
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg") > 10
    if task == "avqa":
        assert len(record["answers"]) == 1
        assert "never saw these words" not in page
    if case == "tspm":
        assert len(record["answers"][0]["chosen"]) == 10
        assert "What glows is what counted" in page
    for event in record["events"]:  # none where random weights are sure of nothing
        assert 0 <= event["start"] < event["end"] <= record["duration"]
    assert ("gates" in record) == (name == "ccnet")
