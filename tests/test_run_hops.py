# SPDX-License-Identifier: Apache-2.0
"""A run trained frame by frame answers frame by frame, unless another hop is asked for."""

import json

import numpy as np
import pytest
from clips import tone, write_clip
from PIL import Image

import avkit
from avkit.answers import Caption, Mask
from avkit.cli import main
from avkit.inference.embedding import embed_audio, index_video
from avkit.inference.run_hops import RunHops, read_hops
from avkit.training.run_folder import RunFolder

FPS = 30
STEPS = 12
TINY = [
    *("--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.batch_size.trimmed", "2", "--data.loader.workers", "0", "--data.image_size", "32"),
]


def write_frame_by_frame(folder):
    """Three short clips of 30 pictures a second, a mask for each of them, a sentence for every third."""
    lines = []
    for number, split in enumerate(("train", "val", "test")):
        name = f"clip{number}"
        write_clip(folder / f"{name}.mp4", [k / FPS for k in range(STEPS)], fps=FPS, sound=tone(STEPS / FPS, 16_000))
        masks = []
        for step in range(STEPS):
            mask = np.zeros((48, 64), np.uint8)
            mask[8:32, step : step + 20] = 1
            Image.fromarray(mask).save(folder / f"{name}_{step}.png")
            masks.append({"step": step, "file": f"{name}_{step}.png", "classes": {"1": "horn"}})
        captions = [{"start": k / 10, "end": (k + 1) / 10, "text": f"a horn number {k}"} for k in range(4)]
        lines.append({"id": name, "video": f"{name}.mp4", "split": split, "masks": masks, "captions": captions})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps on the clips, validated, and the folder of the clips."""
    folder = tmp_path_factory.mktemp("frames")
    manifest = write_frame_by_frame(folder)
    words = ["--tasks", "ra_ssu", "--data.manifest", str(manifest), "--data.hop", "0.0333333"]
    assert main(["fit", *words, *TINY, "--out", str(folder), "--name", "run", "--report", "false"]) == 0
    return folder


def test_predictions_have_the_steps_of_the_training(trained, tmp_path):
    clip = str(trained / "clip2.mp4")
    words = ["predict", str(trained / "run"), clip, "--device", "cpu", "--no_video", "--out", str(tmp_path)]
    assert main(words) == 0
    result = json.loads((tmp_path / "clip2" / "result.json").read_text())
    assert (len(result["steps"]), result["hop"]) == (STEPS, pytest.approx(1 / FPS, abs=1e-6))
    assert json.loads((tmp_path / "clip2" / "request.json").read_text())["options"]["hop"] == 0.0333333
    assert main([*words, "--hop", "0.2"]) == 0
    assert len(json.loads((tmp_path / "clip2-2" / "result.json").read_text())["steps"]) == 2


@pytest.mark.slow
def test_it_is_tested_frame_by_frame(trained):
    assert main(["test", str(trained / "run"), "--trainer.accelerator", "cpu"]) == 0
    report = json.loads((trained / "run" / "report.json").read_text())
    assert {"mIoU", "BLEU-4"} <= {row["metric"] for row in report["rows"]}
    assert [row["steps"] for row in report["efficiency"]] == [STEPS]


def test_streams_indexes_and_searches_have_them_too(trained):
    predictor = avkit.load(trained / "run", device="cpu")
    clip = trained / "clip2.mp4"
    result = predictor.predict(clip)
    assert result.first(Mask).maps.shape[0] == len(result.first(Caption).texts) == STEPS
    assert [part.steps for _, part in predictor.stream(clip)] == [10, 2]
    assert len(index_video(predictor, clip)) == STEPS
    assert len(embed_audio(predictor, clip)["sound"]) in (STEPS, STEPS + 1)  # AAC ends a little later


def test_a_run_of_before_is_read_by_its_config(trained, tmp_path):
    run = RunFolder(trained / "run")
    facts = run.read_facts()
    assert facts["hops"] == {"ra_ssu": [0.0333333]}
    del facts["hops"]
    assert read_hops(run, facts).of(["ra_ssu"]) == 0.0333333
    facts["features"] = {"ra_ssu": [512, 128]}  # stored features have their own
    assert read_hops(run, facts).of(["ra_ssu"]) == 1.0
    other = RunFolder(tmp_path)
    for text in ("data: {hop: 'llp=0.5'}", "data: {hop: null}", "data: {}", "model: {}"):
        other.config.write_text(text)
        assert read_hops(other, {"tasks": ["ave"]}).of(["ave"]) == 1.0


def test_tasks_with_steps_of_several_lengths_are_predicted_one_after_the_other():
    hops = RunHops({"ra_ssu": [1 / FPS], "ave": [1.0, 1.0], "avs": [1.0, 0.5]})
    assert hops.of(["ra_ssu"]) == 1 / FPS
    assert hops.of(["ave", "avqa"]) == 1.0
    assert hops.of(["ra_ssu", "ave"], 0.25) == 0.25
    with pytest.raises(ValueError, match=r"several lengths: ra_ssu of 0.0333333 s, ave of 1 s\. Say which with --hop"):
        hops.of(["ra_ssu", "ave"])
    with pytest.raises(ValueError, match=r"avs of 1 s and 0\.5 s"):
        hops.of(["avs"])
