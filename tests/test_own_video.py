# SPDX-License-Identifier: Apache-2.0
"""A run or converted checkpoint on stored features sees a user's own video: the recipe runs in memory first."""

import json

import pytest
import torch
import yaml
from clips import tone, write_clip, write_wav

import avkit
from avkit.answers import Choice
from avkit.batch import FeatureWidths
from avkit.cli import main
from avkit.datasets import find_dataset
from avkit.encoders.registry import ENCODERS, EncoderEntry
from avkit.errors import DataError
from avkit.extraction.extractor import FeatureExtractor, stream_width
from avkit.extraction.recipe import list_recipes, read_recipe
from avkit.inference import stream_choice
from avkit.inference.stored_inputs import StoredInputs
from avkit.inference.stream_choice import StreamChooser
from avkit.media.decode import open_clip
from avkit.systems import NETWORKS, find_config, find_network
from avkit.systems.features import FeatureConfig
from avkit.systems.tspm.system import TSPMConfig
from avkit.training.datamodule import AVDataModule
from avkit.training.options import FeatureOptions
from avkit.training.run_folder import RunFolder
from avkit.training.stored_facts import StoredPart

RECIPE = {
    "about": "small networks with random weights",
    "streams": {
        "seen": {"of": "pictures", "encoder": "small", "weights": None, "hop": 0.25, "resize": 32, "crop": 32},
        "moved": {
            **{"of": "pictures", "encoder": "tiny_windows", "weights": None, "keep": "window"},
            **{"fps": 8, "window": 1.0, "hop": 1.0},
        },
        "heard": {"of": "sound", "encoder": "tiny_sound", "weights": None, "window": 1.0},
    },
}
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--data.loader.workers", "0")


@pytest.fixture(scope="module", autouse=True)
def _encoders():
    """Small encoders under names of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS["window"], "tiny_windows", EncoderEntry("outside_parts:TinyWindows"))
        patch.setitem(ENCODERS["audio"], "tiny_sound", EncoderEntry("outside_parts:TinySound"))
        patch.setitem(ENCODERS["visual"], "tiny_merged", EncoderEntry("outside_parts:TinyMerged"))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Videos of a user, their stores, and a run of HAN that was trained on these."""
    folder = tmp_path_factory.mktemp("own")
    lines = []
    for k, split in enumerate(("train", "train", "val", "test")):
        seconds = 5 + 0.3 * k
        path = folder / f"clip{k}.mp4"
        write_clip(
            path, [n / 10 for n in range(round(10 * seconds))], fps=10, sound=tone(seconds, 16_000, 200 + 90 * k)
        )
        events = [{"start": 0, "end": 2, "label": "a" if k % 2 else "b", "modality": "both"}]
        lines.append({"id": path.stem, "video": path.name, "split": split, "events": events})
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    out = folder / "features"
    assert main(["extract", str(folder), "--recipe", str(recipe), "--out", str(out), "--workers", "0"]) == 0
    words = [
        "fit",
        "--tasks",
        "avvp",
        "--data.manifest",
        str(folder / "m.jsonl"),
        "--out",
        str(folder),
        "--name",
        "run",
    ]
    words += ["--data.features.visual", f"{out / 'seen.h5'}+{out / 'moved.h5'}"]
    words += ["--data.features.audio", str(out / "heard.h5"), "--trainer.max_steps", "1", "--report", "false", *QUIET]
    words += ["--model.system.name", "han", "--model.system.motion", "8", "--model.system.width", "16"]
    assert main([*words, "--data.batch_size.whole", "2"]) == 0
    return folder


def test_features_in_memory_are_those_of_the_stores_bit_for_bit(made):
    out = made / "features"
    features = FeatureOptions(visual=f"{out / 'seen.h5'}+{out / 'moved.h5'}", audio=str(out / "heard.h5"))
    data = AVDataModule("avvp", manifest=str(made / "m.jsonl"), features=features)
    predictor = avkit.load(made / "run", "cpu", features=str(made / "tiny.yaml"))
    for split in ("train", "test"):
        stored = data.split(split).item(0)
        own = predictor.stored["avvp"].read(open_clip(made / f"{stored.id}.mp4"))
        assert torch.equal(own.visual, stored.visual)
        assert torch.equal(own.audio, stored.audio)
        assert (own.hop, own.offset, own.duration) == (stored.hop, stored.offset, stored.duration)
    assert stored.visual.shape == (5, 1, 72), "four pictures a second are averaged beside one window a second"


def test_a_run_remembers_its_features(made):
    stored = RunFolder(made / "run").read_facts()["stored"]["avvp"]
    named = [(part["name"], part["width"], part["encoder"], part["hop"]) for part in stored["visual"]]
    assert named == [("seen", 64, "small", 0.25), ("moved", 8, "tiny_windows", 1.0)]
    assert len(stored["audio"][0]["weights"]) == 16


def test_predict_makes_a_page_and_says_that_weights_are_random(made, tmp_path, capsys):
    words = ["predict", str(made / "run"), str(made / "clip3.mp4"), "--out", str(tmp_path), "--no_video"]
    words += ["--features", str(made / "tiny.yaml"), "--device", "cpu"]
    assert main(words) == 0
    result = json.loads((tmp_path / "clip3/result.json").read_text())
    assert (tmp_path / "clip3/report.html").exists()
    assert (len(result["steps"]), result["hop"]) == (5, 1.0)
    assert "seen, moved, heard have random weights" in result["warning"]
    assert "random weights" in capsys.readouterr().out
    for more, message in (
        (["--hop", "2"], "this run reads stored features, which have their own"),
        (["--hop", "0"], "give a number of seconds above 0"),
        (["--stream"], "cannot be streamed"),
        (["--names", "x.txt"], "knows the names of its classes"),
        (["--weights", "sen=none"], "Did you mean 'seen'"),
        (["--weights", "text=none"], "Leave 'text=' out"),
        (["--features", "vggish"], "recipe vggish has these of pictures: none"),
        (["--features", "vgish"], "Did you mean 'vggish'"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1


def test_without_a_recipe_the_error_says_what_the_run_was_trained_on(made, capsys):
    assert main(["predict", str(made / "run"), str(made / "clip3.mp4"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "seen (small, hop 0.25 s, width 64) + moved" in error
    assert "--features RECIPE" in error


def test_other_weights_than_those_of_the_run_are_refused(made, tmp_path):
    facts = json.loads((made / "run/run.json").read_text())
    plan = StreamChooser("run", [str(made / "tiny.yaml")], f"heard={tmp_path / 'w.pt'}")
    parts = {"audio": [StoredPart(**facts["stored"]["avvp"]["audio"][0])]}
    chosen = plan.plan("avvp", FeatureWidths(0, 6), parts)
    assert chosen.audio[0].weights == parts["audio"][0].weights
    predictor = avkit.load(
        made / "run", "cpu", features=[str(made / "tiny.yaml")], weights=f"heard={tmp_path / 'w.pt'}"
    )
    predictor.stored["avvp"].plan.audio[0].__dict__["weights"] = "0" * 16
    with pytest.raises(DataError, match="was trained on features of tiny_sound with weights 0000"):
        predictor.predict(made / "clip0.mp4")


def test_missing_weights_are_said_once(made, tmp_path, capsys):
    network = find_network("han").build(**{**SMALL["han"], "audio": 128})
    network.save(tmp_path / "w.safetensors")
    streams = {**RECIPE["streams"], "heard": {"of": "sound", "encoder": "vggish"}}
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump({"streams": streams}))
    words = ["predict", str(tmp_path / "w.safetensors"), str(made / "clip0.mp4"), str(made / "clip1.mp4")]
    words += ["--features", str(tmp_path / "hub.yaml"), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "Weights of VGGish (72.1 million parameters, about 289 MB) are not in the cache" in error
    assert "STREAM=PATH of avkit extract and predict" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert main([*words, "--weights", f"heard={tmp_path / 'none.pt'}"]) == 2
    assert "none.pt does not exist" in capsys.readouterr().err


def test_clips_without_sound_or_picture(made, tmp_path, capsys):
    write_clip(tmp_path / "silent.mp4", [k / 10 for k in range(30)], fps=10)
    write_wav(tmp_path / "sound.wav", tone(3, 16_000))
    words = ["predict", str(made / "run"), "--features", str(made / "tiny.yaml"), "--device", "cpu", "--no_video"]
    words += ["--out", str(tmp_path / "out")]
    assert main([*words, str(tmp_path / "silent.mp4")]) == 2
    assert "has no audio track" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "silent.mp4"), "--silent_ok"]) == 0
    assert main([*words, str(tmp_path / "silent.mp4"), "--audio", str(tmp_path / "sound.wav")]) == 0
    assert main([*words, str(tmp_path / "sound.wav")]) == 2
    assert "sound.wav" in capsys.readouterr().err


SMALL = {
    "ccnet": {"visual": 72, "audio": 6, "classes": 3, "width": 8, "heads": 2, "length": 64, "channels": 8, "inner": 4},
    "unav": {"visual": 72, "audio": 6, "classes": 3, "width": 8, "heads": 2, "length": 64, "channels": 8, "inner": 4},
    "uniav": {"visual": 72, "audio": 6, "classes": 3, "text": 7, "width": 8, "heads": 2, "length": 64, "channels": 8},
    "han": {"audio": 6, "frames": 64, "motion": 8, "classes": 3, "width": 8, "inner": 8},
    "mm_pyramid": {
        "audio": 6,
        "frames": 64,
        "motion": 8,
        "classes": 3,
        "width": 8,
        "heads": 2,
        "inner": 4,
        "levels": 2,
    },
    "avel": {"audio": 6, "visual": 72, "classes": 4, "hidden": 5, "attention_width": 7, "positions": 1},
    "psp": {"audio": 6, "visual": 72, "classes": 4, "attention_width": 7, "positions": 1},
    "avst": {"audio": 6, "visual": 72, "width": 72, "answers": 5},
}


@pytest.mark.parametrize("name", SMALL)
def test_converted_checkpoints_see_a_video(name, made, tmp_path):
    torch.manual_seed(0)
    find_network(name).build(**SMALL[name]).save(tmp_path / "w.safetensors")
    predictor = avkit.load(tmp_path / "w.safetensors", "cpu", features=str(made / "tiny.yaml"), weights="none")
    question = "how many instruments are sounding" if name == "avst" else None
    result = predictor.predict(made / "clip3.mp4", question=question)
    assert any("--names FILE" in note for note in result.notes)
    assert (result.steps, result.hop) == (5, 1.0)
    assert "random weights" in result.warning
    assert result.domains == dict.fromkeys(result.tasks, "official")
    assert result.answers or name in ("avel", "psp"), "an untrained network may see background alone"


@pytest.fixture(scope="module")
def merged(made):
    """A checkpoint of TSPM on merged tokens, and the recipe of these."""
    folder = made / "merged"
    folder.mkdir()
    tokens = {"of": "pictures", "encoder": "tiny_merged", "weights": None, "resize": 40, "crop": 32}
    streams = {
        "tokens": {**tokens, "keep": "patches"},
        "tokens_sources": {**tokens, "keep": "sources"},
        "seen": RECIPE["streams"]["seen"],
        "heard": RECIPE["streams"]["heard"],
    }
    (folder / "merged.yaml").write_text(yaml.safe_dump({"streams": streams}, sort_keys=False))
    torch.manual_seed(0)
    sizes = {"audio": 6, "visual": 64, "patches": 6, "text": 128, "answers": 5, "width": 8, "inner": 8, "topk": 3}
    find_network("tspm").build(**sizes, patch_select="index").save(folder / "w.safetensors")
    return folder


@pytest.fixture
def small_text(monkeypatch):
    """A small encoder of questions in the place of CLIP's."""
    monkeypatch.setattr(TSPMConfig, "converted_options", {"text": "small", "text_weights": None})


def test_parts_of_merged_tokens_are_shown_on_the_page(merged, made, tmp_path, small_text):
    predictor = avkit.load(merged / "w.safetensors", "cpu", features=str(merged / "merged.yaml"), weights="none")
    plan = predictor.stored["avqa"].plan
    assert (plan.sources.name, plan.crop) == ("tokens_sources", 0.8)
    assert [group.encoder.width for group in predictor.stored["avqa"].extractor.extractor.groups] == [6, 64, 6]
    result = predictor.predict(made / "clip3.mp4", question="how many instruments are sounding")
    (choice,) = result.of(Choice)
    assert choice.region_sources.shape == (3, 4, 4)
    maps = choice.region_maps(choice.key_steps())
    for weights, picture in zip(choice.region_weights, maps, strict=True):
        assert set(picture[1:3].ravel()) == {weights[1].item()}
    page = result.save(tmp_path / "out", video=False)["report"].read_text()
    assert page.count("weight 0.") == 3
    assert "What glows is what counted in the pictures" in page
    assert "merged tokens, and it is not known" not in page


def test_a_clip_of_too_few_steps_is_refused_before_its_features_are_made(
    merged, made, tmp_path, small_text, monkeypatch
):
    predictor = avkit.load(merged / "w.safetensors", "cpu", features=str(merged / "merged.yaml"), weights="none")
    predictor.model.system.config.topk = 10
    monkeypatch.setattr(StoredInputs, "read", lambda *_: pytest.fail("features were made"))
    with pytest.raises(ValueError, match="10 steps are to be chosen, and a clip has 6"):
        predictor.predict(made / "clip3.mp4", question="how many instruments are sounding")


def test_without_places_the_page_says_why_no_parts_are_shown(merged, made, tmp_path, small_text):
    recipe = yaml.safe_load((merged / "merged.yaml").read_text())
    del recipe["streams"]["tokens_sources"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    predictor = avkit.load(merged / "w.safetensors", "cpu", features=str(tmp_path / "plain.yaml"), weights="none")
    result = predictor.predict(made / "clip3.mp4", question="how many instruments are sounding")
    page = result.save(tmp_path / "out", video=False)["report"].read_text()
    assert page.count("weight 0.") == 3
    assert "merged tokens, and it is not known where these are" in page


def test_places_of_tokens_follow_the_weights_of_the_tokens(merged):
    recipe = read_recipe(merged / "merged.yaml")
    for weights, expected in (
        ("tokens=a.pt,seen=b.pt", ["a.pt", "a.pt", "b.pt", None]),
        ("c.pt", ["c.pt"] * 4),
        ("tokens_sources=d.pt", [None, "d.pt", None, None]),
    ):
        assert [stream.weights for stream in recipe.with_weights(weights).streams] == expected
    plan = StreamChooser("run", [str(merged / "merged.yaml")], "tokens=a.pt").plan("avqa", FeatureWidths(70, 6), {})
    assert plan.sources.weights == "a.pt"


def test_names_of_a_converted_checkpoint(made, tmp_path, capsys):
    network = find_network("han").build(**SMALL["han"])
    torch.nn.init.constant_(network.pooling.classes.bias, 9.0)
    network.save(tmp_path / "w.safetensors")
    (tmp_path / "names.txt").write_text("horn\ndog\n\ndrum\n")
    words = ["predict", str(tmp_path / "w.safetensors"), str(made / "clip3.mp4"), "--out", str(tmp_path / "out")]
    words += ["--features", str(made / "tiny.yaml"), "--device", "cpu", "--no_video"]
    words += ["--names", str(tmp_path / "names.txt")]
    assert main(words) == 0
    assert (tmp_path / "out/clip3/report.html").exists()
    result = json.loads((tmp_path / "out/clip3/result.json").read_text())
    assert {event["name"] for event in result["events"]} == {"horn", "dog", "drum"}
    assert not any("--names FILE" in note for note in result["notes"])
    (tmp_path / "names.txt").write_text("one\n")
    assert main(words) == 2
    assert "has 1 names" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path)]) == 2
    assert "LLP" in capsys.readouterr().err, "the folder is none of its dataset"


def test_official_weights_are_to_be_converted_first(tmp_path, made, capsys):
    network = find_network("han").build(**SMALL["han"])
    torch.save(network.to_official(), tmp_path / "han.pth")
    (tmp_path / "other.txt").write_text("no weights")
    assert main(["predict", str(tmp_path / "han.pth"), str(made / "clip3.mp4")]) == 2
    assert f"avkit convert han {tmp_path / 'han.pth'}" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "other.txt"), str(made / "clip3.mp4")]) == 2
    assert "nor a file that 'avkit convert' wrote" in capsys.readouterr().err


def test_every_system_on_features_names_recipes_that_exist():
    for name in NETWORKS:
        config = find_config(name)
        if not issubclass(config, FeatureConfig):
            continue
        assert config.published_inputs
        for inputs in config.published_inputs:
            streams = [s.name for recipe in inputs.recipes for s in read_recipe(recipe).streams]
            assert set(inputs.recipes) <= set(list_recipes())
            assert {*inputs.visual.split("+"), inputs.audio} <= set(streams)


WIDTHS = {"rgb": 1024, "flow": 1024, "one_peace_video": 1536, "one_peace_audio": 1536, "res152": 2048, "tome14": 1024}
WIDTHS |= {"r2plus1d_18": 512, "vgg19": 512, "clip": 768, "clip_b32": 512, "resnet18_14x14": 512, "vggish": 128}


@pytest.mark.parametrize("name", ["ccnet", "unav", "uniav", "han", "mm_pyramid", "avel", "psp", "tspm", "pstp", "avst"])
def test_runs_on_published_features_find_their_recipe(name, monkeypatch):
    """Whether the run remembers its features, or only their widths are known."""
    monkeypatch.setattr(stream_choice, "stream_width", lambda stream: WIDTHS[stream.name])
    for inputs in find_config(name).published_inputs:
        released = find_dataset(inputs.dataset).released
        parts = {"visual": inputs.visual.split("+"), "audio": [inputs.audio]}
        known = {}
        for modality, names in parts.items():
            facts = [(part, released[part].facts, len(released[part].shape) > 2) for part in names]
            known[modality] = [StoredPart(n, WIDTHS[n], f.encoder, f.hop, tokens=int(t)) for n, f, t in facts]
        for remembered in (known, {}):
            plan = StreamChooser("run", published=find_config(name).published_inputs).plan(
                "x", inputs.widths, remembered
            )
            assert [entry.stream.name for entry in plan.visual] == parts["visual"]
            assert [entry.stream.name for entry in plan.audio] == parts["audio"]
            assert plan.audio[0].stream.hop == {"unav100": 0.25 if "peace" in inputs.audio else 0.32}.get(
                inputs.dataset, 1
            )


@pytest.mark.parametrize("name", ["ccnet", "han", "avel", "tspm", "pstp", "avst"])
def test_encoders_of_recipes_have_the_published_widths(name):
    for library in ("torchvision", "timm", "open_clip"):
        pytest.importorskip(library)
    published = find_config(name).published_inputs
    for inputs in published:
        plan = StreamChooser("run", published=published).plan("x", inputs.widths, {})
        streams = [stream for stream in plan.streams if stream.keep != "sources"]  # numbers of tokens have no width
        assert all(stream_width(stream) == WIDTHS[stream.name] for stream in streams)


def test_encoders_are_loaded_once_and_pictures_of_one_rate_are_decoded_once(made):
    content = {**RECIPE["streams"], "again": {**RECIPE["streams"]["moved"], "keep": "window"}}
    (made / "twice.yaml").write_text(yaml.safe_dump({"streams": content}))
    streams = read_recipe(made / "twice.yaml").media_streams
    extractor = FeatureExtractor(streams, torch.device("cpu"))
    groups = {frozenset(stream.name for stream in group.streams) for group in extractor.groups}
    assert groups == {frozenset({"seen"}), frozenset({"moved", "again"}), frozenset({"heard"})}
