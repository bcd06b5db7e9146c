# SPDX-License-Identifier: Apache-2.0
"""SSUFormer from the command line: fit, report, resume, predict, streams of long videos, an index and searches."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import avkit
from avkit.answers import Caption, Mask
from avkit.cli import main
from avkit.datasets.scenes import Scenes
from avkit.errors import DataError
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.inference.caption_index import stems_of as stems
from avkit.inference.embedding import embed_audio, index_video
from avkit.inference.expert_inputs import make_expert
from avkit.inference.index import IndexedVideo, IndexFolder
from avkit.inference.search import Index, search
from avkit.media.decode import open_clip, read_clip
from avkit.media.stream import iter_clips
from avkit.media.write import write_video, write_wave
from avkit.report import StreamWriter
from avkit.training.callbacks import read_history
from avkit.training.run_folder import RunFolder

CONFIGS = Path(__file__).parents[1] / "avkit" / "configs" / "ssuformer"
TINY = [
    *("--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--data.steps_per_epoch", "4"),
    *("--data.batch_size.trimmed", "2", "--data.scenes.train_size", "8"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "2"),
    *("--data.image_size", "32", "--data.loader.workers", "0", "--model.system.max_pieces", "8"),
]
REAL = Path(__file__).parents[2] / "shared" / "data" / "real" / "clips"


def fit(out, name, *extra, row="ssu"):
    return main(["fit", "--config", str(CONFIGS / f"{row}.yaml"), "--out", str(out), "--name", name, *TINY, *extra])


def expert(path, names=("train", "val", "test")):
    rng = np.random.default_rng(0)
    clips = [(f"scenes-{s}-{i:06d}", rng.standard_normal((10, 64))) for s in names for i in range(8)]
    return write_store(path, clips, FeatureFacts("made up", hop=1.0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with its report."""
    out = tmp_path_factory.mktemp("runs")
    store = expert(out / "expert.h5", ("train", "test"))
    assert fit(out, "whole", "--data.features.expert", str(store), "--model.system.dropout", "0.1") == 0
    return RunFolder(out / "whole")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three videos of different lengths, with sound."""
    out = tmp_path_factory.mktemp("videos")
    for index, seconds in enumerate((3, 5, 4)):
        item = Scenes("val", 4, image_size=32).item(index, {"mask"})
        write_wave(out / f"{index}.wav", item.waveform[: seconds * 16_000].numpy())
        frames = ((k / 2, item.frames[k // 2].permute(1, 2, 0).numpy()) for k in range(2 * seconds))
        write_video(out / f"clip{index}.mp4", frames, 2.0, out / f"{index}.wav")
    return out


def test_the_report_tells_of_the_expert_and_what_an_answer_costs(whole):
    report = json.loads((whole.path / "report.json").read_text())
    assert {row["metric"] for row in report["rows"]} >= {"mIoU", "F", "BLEU-4", "ROUGE-L"}
    (cost,) = report["efficiency"]
    weights = load_file(whole.weights)
    parameters = {
        name: x for name, x in weights.items() if not re.search(r"\.(running_\w+|num_batches_tracked)$", name)
    }
    answering = {name: x for name, x in parameters.items() if ".description.captions." not in name}
    assert len(answering) < len(parameters)
    assert cost["params"] == sum(x.numel() for x in answering.values())
    assert cost["flops"] > 1e7
    assert cost["fps"] > 0
    assert any("The expert's share of captions was" in note and "100 % of the" in note for note in report["notes"])
    assert json.loads(whole.facts.read_text())["expert"] == 64


@pytest.mark.slow
def test_a_run_can_be_repeated_to_the_last_bit(whole, tmp_path):
    store = ("--data.features.expert", str(whole.path.parent / "expert.h5"), "--model.system.dropout", "0.1")
    assert fit(tmp_path, "again", *store, "--report", "false") == 0
    first, second = (
        [row for row in read_history(run.history) if "task" in row] for run in (whole, RunFolder(tmp_path / "again"))
    )
    assert len(first) == 8
    assert first == second


@pytest.mark.slow
def test_rows_that_answer_half_of_it(videos, tmp_path, capsys):
    for row, wanted in (("ssu_s", {"mIoU", "F"}), ("ssu_d", {"BLEU-4", "ROUGE-L"})):
        assert fit(tmp_path, row, "--trainer.max_epochs", "1", row=row) == 0
        metrics = {r["metric"] for r in json.loads((tmp_path / row / "report.json").read_text())["rows"]}
        assert wanted <= metrics
        assert not metrics & ({"mIoU", "BLEU-4"} - wanted)
    assert main(["index", str(tmp_path / "ssu_s"), str(videos), "--out", str(tmp_path / "index")]) == 2
    assert "masks or captions alone" in capsys.readouterr().err


def test_another_tokenizer_is_refused(whole, tmp_path, capsys):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "drum"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    assert main(["validate", str(whole.path), "--model.system.pieces", str(tmp_path / "vocab.txt")]) == 2
    assert "other word pieces (its tokenizer)" in capsys.readouterr().err


def test_predict_says_that_there_is_no_expert(whole, videos, tmp_path):
    result = avkit.load(whole.path, device="cpu").predict(videos / "clip0.mp4")
    assert result.first(Mask).maps.shape == (3, 32, 32)
    assert len(result.first(Caption).texts) == 3
    assert any("No clip had features of an expert" in note for note in result.notes)
    assert result.save(tmp_path / "out")["overlay"].exists()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe of features as wide as those of the run's expert, in place of a large model's."""
    path = tmp_path_factory.mktemp("recipe") / "stand_in.yaml"
    path.write_text("about: stands in for an expert\nstreams:\n  looks: {of: pictures, encoder: small, keep: frame}\n")
    return str(path)


def test_an_experts_features_are_made_on_the_way(whole, videos, recipe, tmp_path, capsys):
    predictor = avkit.load(whole.path, device="cpu", expert=recipe, weights="looks=scenes")
    result = predictor.predict(videos / "clip0.mp4")
    assert any("The expert's share of captions was" in note and "100 % of the steps" in note for note in result.notes)
    assert result.provenance["features of the expert"] == "looks (small, weights scenes)"
    rows = predictor.expert.read(open_clip(videos / "clip0.mp4"))
    assert rows.shape == (3, 64)
    half = predictor.predict(videos / "clip0.mp4", hop=0.5)  # a row for each second serves both halves of it
    assert len(half.first(Caption).texts) == 6
    windows = list(predictor.stream(videos / "clip1.mp4", window=2))
    assert [part.first(Caption).grid.steps for _, part in windows] == [2, 2, 1]
    command = ["predict", str(whole.path), str(videos / "clip0.mp4"), "--expert", recipe, "--weights", "none"]
    assert main([*command, "--device", "cpu", "--out", str(tmp_path), "--no_video"]) == 0
    page = re.sub("<[^>]+>", "", (tmp_path / "clip0" / "report.html").read_text())
    assert "weights random)" in page


def test_an_expert_that_does_not_fit_is_refused(whole, recipe, tmp_path, capsys):
    clip = str(tmp_path / "clip.mp4")
    assert main(["predict", str(whole.path), clip, "--expert", "llava"]) == 2
    assert "name its weights, such as 'hub'" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"features of width 63; recipe .* makes 64"):
        make_expert("runs/one", recipe, 63, None, torch.device("cpu"))
    with pytest.raises(DataError, match="trained without features of an expert"):
        make_expert("runs/one", recipe, None, None, torch.device("cpu"))
    assert main(["predict", str(whole.path), clip, "--expert", "lava"]) == 2
    assert "llava" in capsys.readouterr().err
    assert main(["predict", str(whole.path), clip, "--expert", "vggish"]) == 2
    assert "streams of pictures" in capsys.readouterr().err
    assert main(["predict", str(whole.path), clip, "--expert", recipe, "--weights", "sees=x"]) == 2
    assert "reads pictures and sound and no stored features" in capsys.readouterr().err
    assert main(["predict", "zero_shot", clip, "--expert", "llava"]) == 2
    assert "Leave --features and --expert out" in capsys.readouterr().err


def test_windows_of_a_video_are_the_video(videos):
    for path in sorted(videos.glob("*.mp4")):
        whole = read_clip(path, 0.5, 24)
        parts = list(iter_clips(path, 3, 0.5, 24))
        assert [p.steps for p in parts[:-1]] == [3] * (len(parts) - 1)
        assert torch.equal(torch.cat([p.frames for p in parts]), whole.frames)
        assert torch.equal(torch.cat([p.waveform for p in parts]), whole.waveform)
        assert sum(p.duration for p in parts) == pytest.approx(whole.duration)
    with pytest.raises(ValueError, match="steps is 0"):
        next(iter_clips(videos / "clip0.mp4", 0))


def test_a_stream_is_the_answers_of_its_windows(whole, videos, tmp_path):
    predictor = avkit.load(whole.path, device="cpu")
    (start, result), *rest = predictor.stream(videos / "clip1.mp4", window=3)
    assert [s for s, _ in rest] == [3.0]
    assert (start, result.steps, rest[0][1].steps) == (0.0, 3, 2)
    plain = predictor.predict(videos / "clip1.mp4")
    one = [r for _, r in predictor.stream(videos / "clip1.mp4", window=60)]
    np.testing.assert_allclose(one[0].first(Mask).maps, plain.first(Mask).maps, atol=1e-5)
    assert one[0].first(Caption) == plain.first(Caption)
    with StreamWriter(tmp_path) as writer:
        for begin, part in [(start, result), *rest]:
            writer.write(begin, part)
    lines = [json.loads(line) for line in writer.path.read_text().splitlines()]
    assert [line["start"] for line in lines] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert lines[-1]["end"] == pytest.approx(5.0)
    captions = [text for part in (result, rest[0][1]) for text in part.first(Caption).texts]
    assert [line["caption"] for line in lines] == captions
    assert Image.open(tmp_path / lines[4]["mask"]["file"]).size == (32, 32)


def test_predict_streams_from_the_command_line(whole, videos, tmp_path, capsys):
    words = [
        "predict",
        str(whole.path),
        str(videos / "clip2.mp4"),
        "--stream",
        "--caption_change_threshold",
        "0.1",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    assert "4 steps" in capsys.readouterr().out
    assert len((tmp_path / "clip2" / "stream.jsonl").read_text().splitlines()) == 4
    assert main([*words, "--question", "how many?"]) == 2
    assert main([*words, "--tasks", "ra_su"]) == 2
    assert main([*words, "--caption_change_threshold", "-1"]) == 2


def indexed(name, captions, region):
    count = len(captions)
    times = torch.arange(count).float()
    vectors = {k: torch.tensor(region, dtype=torch.float32) for k in ("region", "frame", "sound")}
    masks = torch.zeros(count, 64, 64, dtype=torch.uint8)
    return IndexedVideo(name, times, times + 1, captions, masks, vectors)


def test_a_text_finds_the_stretch_with_its_caption():
    index = Index(
        [
            indexed(
                "dog", ["a street", "a white dog barks on the left", "a white dog barks on the left"], [[1, 0]] * 3
            ),
            indexed("cat", ["a cat meows on the left", "a cat sleeps"], [[0, 1]] * 2),
            indexed("still", ["", ""], [[0.5, 0.5]] * 2),
        ]
    )
    hits = search(index, "A white dog barking on the left!")
    assert (hits[0].video, hits[0].start, hits[0].end, hits[0].moment) == ("dog", 1.0, 3.0, 1.5)
    assert hits[0].score > hits[1].score > 0
    assert hits[1].video == "cat"
    assert hits[2].score == 0
    assert index.unknown_words("a white dgo barking") == ["'dgo' (captions have dog)"]
    assert stems("Barking dogs bark") == ["bark", "dog", "bark"]
    assert len(search(index, "cat", count=1)) == 1
    for text in ("", "?!"):
        with pytest.raises(ValueError, match="no words"):
            search(index, text)
    with pytest.raises(ValueError, match="Nothing is searched for"):
        search(index)


def test_examples_find_what_is_like_them():
    index = Index([indexed("one", ["x", "y"], [[1, 0], [0.9, 0.1]]), indexed("two", ["z"], [[0, 1]])])
    assert search(index, examples=[{"sound": torch.tensor([[0.1, 2.0]])}])[0].video == "two"
    assert search(index, examples=[{"region": torch.tensor([[3.0, 0.0]])}])[0].video == "one"
    assert search(index, "z", examples=[{"sound": torch.tensor([[0.0, 1.0]])}])[0].video == "two"


def test_index_and_search(whole, videos, tmp_path, capsys):
    words = ["index", str(whole.path), str(videos), "--out", str(tmp_path / "index")]
    assert main(words) == 0
    assert "3 videos, 3 of them new, 12 steps" in capsys.readouterr().out
    assert main(words) == 0
    assert "3 videos, 0 of them new" in capsys.readouterr().out
    index = Index(IndexFolder(tmp_path / "index").read())
    predictor = avkit.load(whole.path, device="cpu")
    again = index_video(predictor, videos / "clip1.mp4")
    assert again.captions == index.videos[1].captions
    torch.testing.assert_close(again.vectors["sound"], index.videos[1].vectors["sound"])
    # a video finds itself: by all it shows, and by its sound alone
    assert Path(search(index, examples=[again.vectors])[0].video).name == "clip1.mp4"
    audio = embed_audio(predictor, videos / "clip2.mp4")
    torch.testing.assert_close(audio["sound"], index.videos[2].vectors["sound"], atol=1e-3, rtol=1e-3)
    show = ["search", str(tmp_path / "index"), "--sound", str(videos / "clip2.mp4")]
    assert main([*show, "-k", "1", "--show", str(tmp_path / "hits.html")]) == 0
    assert "clip2.mp4" in capsys.readouterr().out
    assert "data:image/jpeg" in (tmp_path / "hits.html").read_text()
    assert main([*show, "--json"]) == 0
    assert {"video", "start", "end", "score", "caption", "box"} <= json.loads(capsys.readouterr().out)[0].keys()
    assert main(["search", str(tmp_path / "index"), "zebra"]) == 1
    assert "no caption has 'zebra'" in capsys.readouterr().err


def test_an_index_of_another_run_or_none(whole, videos, tmp_path, capsys):
    assert main(["search", str(tmp_path), "dog"]) == 2
    assert "is no index" in capsys.readouterr().err
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": "x", "weights": "other"})
    assert main(["search", str(tmp_path / "index"), "dog"]) == 2
    assert "has no videos" in capsys.readouterr().err
    assert main(["index", str(whole.path), str(videos / "clip0.mp4"), "--out", str(tmp_path / "index")]) == 2
    assert "was built with other" in capsys.readouterr().err
    (tmp_path / "index" / "videos").mkdir()
    (tmp_path / "index" / "videos" / "a.safetensors").write_bytes(b"no tensors")
    assert main(["search", str(tmp_path / "index"), "dog"]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_an_index_goes_on_after_a_broken_video(whole, videos, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    words = ["index", str(whole.path), str(broken), str(videos / "clip0.mp4"), "--out", str(tmp_path / "index")]
    assert main(words) == 1
    assert "1 of 2 videos could not be read" in capsys.readouterr().err
    assert len(IndexFolder(tmp_path / "index").read()) == 1


@pytest.mark.skipif(not REAL.exists(), reason="the real clips are absent")
def test_real_clips_can_be_indexed_and_streamed(whole, tmp_path):
    clips = sorted(REAL.rglob("*.mp4"))[:2]
    assert clips
    predictor = avkit.load(whole.path, device="cpu")
    for clip in clips:
        parts = list(predictor.stream(clip, silent_ok=True))
        assert sum(result.steps for _, result in parts) == predictor.predict(clip, silent_ok=True).steps
        assert len(index_video(predictor, clip, silent_ok=True)) > 0
