# SPDX-License-Identifier: Apache-2.0
import json
import re

import numpy as np
import pytest
import torch
import zero_shot_models
from clips import tone, write_clip
from safetensors.torch import save_file

import avkit
from avkit.answers import Caption, Choice, Events, Heat, Mask, ModalityLabels, StepLabels
from avkit.cli import main
from avkit.datasets.ave import CLASSES as AVE
from avkit.datasets.avsbench_avss import CLASSES as AVSS
from avkit.datasets.llp import CLASSES as LLP
from avkit.encoders.yamnet import YAMNet, audioset_classes
from avkit.inference.loading import is_zero_shot
from avkit.systems.zero_shot.catalogue import STAGES, find_part, parts_of
from avkit.systems.zero_shot.config import ZeroShotConfig
from avkit.systems.zero_shot.detectors import GroundingDINO, OWLv2
from avkit.systems.zero_shot.observation import Observation, Track, calibrate, hysteresis, without_general
from avkit.systems.zero_shot.presence import Presence
from avkit.systems.zero_shot.questions import choose_answer
from avkit.systems.zero_shot.segmenters import SAM2
from avkit.systems.zero_shot.sentences import step_sentences
from avkit.systems.zero_shot.taggers import ASTTagger, smooth, sound_windows, to_steps
from avkit.systems.zero_shot.targets import Target, audioset_sources, class_maps, events, find_target, in_category
from avkit.systems.zero_shot.words import SentenceEncoder

#: AudioSet classes that the weights of the tests hear in every window.
HEARD = ("Dog", "Animal")


@pytest.fixture(scope="module")
def yamnet(tmp_path_factory):
    """Weights that hear a dog in every window, whatever sounds."""
    network = YAMNet()
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    state["classifier.weight"] = torch.zeros_like(state["classifier.weight"])
    state["classifier.bias"] = torch.full_like(state["classifier.bias"], -6)
    for name in HEARD:
        state["classifier.bias"][audioset_classes().index(name)] = 2
    path = tmp_path_factory.mktemp("weights") / "yamnet.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, times=[step / 4 for step in range(12)], fps=4, sound=tone(3, 16_000)[None])
    return path


class TestClassMaps:
    def test_every_class_of_audioset_has_a_row(self):
        assert tuple(audioset_sources()) == audioset_classes()

    @pytest.mark.parametrize(("dataset", "classes"), [("ave", AVE), ("llp", LLP), ("avsbench-avss", AVSS)])
    def test_all_classes_are_mapped(self, dataset, classes):
        assert list(class_maps()[dataset]) == list(classes)

    def test_counts(self):
        counts = {dataset: len(classes) for dataset, classes in class_maps().items()}
        assert counts == {
            "ave": 28, "llp": 25, "avsbench-s4": 23, "avsbench-avss": 70, "vggss": 221, "unav100": 100, "f-music": 22,
        }  # fmt: skip

    def test_they_name_classes_of_audioset(self):
        known = set(audioset_classes())
        for of_dataset in class_maps().values():
            for target in of_dataset.values():
                assert target.audioset, target
                assert set(target.audioset) <= known, target

    def test_vggss_and_unav_name_all_of_the_official_files(self, real):
        import gzip

        with gzip.open(real / "annotations/ssl/vggss.json.gz") as file:
            assert {entry["class"] for entry in json.load(file)} == set(class_maps()["vggss"])
        with gzip.open(real / "annotations/unav100/unav100_annotations.json.gz") as file:
            videos = json.load(file)["database"].values()
        labels = {entry["label"] for video in videos for entry in video["annotations"]}
        assert labels == set(class_maps()["unav100"])

    def test_one_name_means_one_thing(self):
        meanings = {}
        for of_dataset in class_maps().values():
            for name, target in of_dataset.items():
                assert meanings.setdefault(name, target) == target

    @pytest.mark.parametrize(
        ("name", "first", "noun"),
        [
            ("Frying_(food)", "Frying (food)", "frying pan"),
            ("playing violin, fiddle", "Violin, fiddle", "violin"),
            ("erhu", "Bowed string instrument", "erhu"),
            ("DOG", "Dog", "dog"),
            ("Crowing, cock-a-doodle-doo", "Crowing, cock-a-doodle-doo", "rooster"),
        ],
    )
    def test_names_as_people_write_them(self, name, first, noun):
        target = find_target(name)
        assert (target.name, target.audioset[0], target.object) == (name, first, noun)

    def test_names_that_nobody_knows(self):
        assert find_target("kettle").audioset == ()
        assert find_target("hound", lambda name, names: "dog").audioset[0] == "Dog"
        assert find_target("hound", lambda name, names: None) == Target("hound", (), "hound")

    def test_categories(self):
        assert in_category(find_target("violin"), "instrument")
        assert not in_category(find_target("chainsaw"), "instrument")
        assert in_category(find_target("dog"), "house") is None


class TestSound:
    def test_steps_are_means_of_the_windows_in_them(self):
        features = torch.arange(7.0)[:, None]  # middles at 0.4875, 0.9675, 1.4475, ...
        assert to_steps(features, 3, 1.0)[:, 0].tolist() == [0.5, 2.5, 4.5]
        assert to_steps(features, 5, 0.3)[:, 0].tolist() == [0, 0, 1, 1, 2]
        assert to_steps(features[:1], 2, 1.0)[:, 0].tolist() == [0, 0]

    def test_smoothing_takes_single_windows_out(self):
        features = torch.tensor([0.0, 0.9, 0.0, 0.8, 0.9, 0.7])[:, None]
        assert smooth(features, 3)[:, 0].tolist() == pytest.approx([0, 0, 0.8, 0.8, 0.8, 0.7])
        assert smooth(features, 1) is features

    def test_windows_are_around_the_same_moments(self):
        waveform = torch.zeros(48_000)
        waveform[7_800] = 1  # the middle of the first window of YAMNet
        windows = sound_windows(waveform, 32_000)
        assert windows.shape == (6, 32_000)
        assert windows[0].argmax() == 16_000

    def test_hysteresis(self):
        scores = torch.tensor([0.2, 0.4, 0.2, 0.1, 0.2, 0.5])[:, None]
        assert hysteresis(scores, 0.3, 0.15)[:, 0].tolist() == [True, True, True, False, True, True]
        assert not hysteresis(scores, 0.6, 0.15).any()

    def test_a_crow_is_not_named_a_bird_too(self):
        targets = [events()["bird"], events()["crow"], events()["dog"]]
        active = torch.tensor([[True, True, True], [True, False, False]])
        assert without_general(active, targets).tolist() == [[False, True, True], [True, False, False]]

    def test_calibration_keeps_order_and_puts_the_threshold_at_a_half(self):
        scores = torch.tensor([0.0, 0.15, 0.3, 0.65, 1.0])
        assert calibrate(scores, 0.3).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def observation(heard, names=("dog", "violin", "guitar"), tracks=None, hop=1.0):
    heard = torch.tensor(heard)
    targets = [events()[name] for name in names]
    return Observation(
        targets, heard, heard >= 0.5, lambda numbers: None, lambda numbers: tracks, hop=hop, max_names=3,
        can_outline=False, only_heard=True,
    )  # fmt: skip


def track(number, lefts, count=1):
    boxes = torch.tensor([[left, 0.1, left + 0.2, 0.9] for left in lefts])
    scores = (~boxes[:, 0].isnan()).float()
    return Track(number, boxes, scores, count * scores.long())


class TestRules:
    ANSWERS = ("yes", "no", "zero", "one", "two", "three", "left", "middle", "right", "dog", "violin", "guitar")

    @pytest.fixture
    def clip(self):
        """A violin on the left from the start, a guitar on the right that comes later; no dog."""
        heard = [[0.0, 0.9, 0.0], [0.0, 0.9, 0.6], [0.0, 0.9, 0.6]]
        return observation(heard, tracks=[track(1, [0.1, 0.1, 0.1]), track(2, [0.7, 0.7, 0.7], count=2)])

    @pytest.mark.parametrize(
        ("question", "answer", "rule"),
        [
            ("How many types of musical instruments sound in the video?", "two", "counting"),
            ("How many guitars are there?", "two", "counting"),
            ("How many dogs are there?", "zero", "counting"),
            ("Is the violin in the video always playing?", "yes", "existence"),
            ("Is the guitar in the video always playing?", "no", "existence"),
            ("Is there a dog in the video?", "no", "existence"),
            ("Where is the guitar?", "right", "place"),
            ("Where is the first sounding instrument?", "left", "place"),
            ("What is the first instrument that comes in?", "violin", "which"),
            ("Which instrument makes sound last?", "guitar", "which"),
            ("What is the right instrument?", "guitar", "which"),
            ("Which instrument is the loudest?", "violin", "which"),
        ],
    )
    def test_answers(self, clip, question, answer, rule):
        choice = choose_answer(question, self.ANSWERS, clip)
        assert (choice.answer, choice.rule) == (answer, rule)

    def test_what_no_rule_knows_is_a_guess(self):
        silent = observation([[0.0, 0.0, 0.0]])
        assert not choose_answer("Where is the dog?", self.ANSWERS, silent).rule

    def test_the_language_model_decides_where_it_names_an_answer(self, clip):
        ask = lambda question: "I think it is a guitar."  # noqa: E731
        assert choose_answer("What is it?", self.ANSWERS, clip, ask).answer == "guitar"
        assert choose_answer("Is there a dog?", self.ANSWERS, clip, lambda question: "Hm.").answer == "no"

    def test_sentences_say_where_and_how_it_moves(self):
        nan = float("nan")
        clip = observation([[0.9, 0.0, 0.0]] * 3, tracks=[track(0, [0.1, 0.6, nan])])
        assert step_sentences(clip) == [
            "A dog is heard on the left.",
            "A dog is heard on the right, moving right.",
            "A dog is heard and not seen.",
        ]
        assert step_sentences(observation([[0.9, 0.6, 0.0]])) == ["A dog is heard. A violin is heard."]
        assert step_sentences(observation([[0.0, 0.0, 0.0]])) == [""]


class TestPredict:
    def test_sound_alone(self, yamnet, clip, tmp_path, capsys):
        weights = f"sound={yamnet}"
        command = ["predict", "zero_shot", str(clip), "--weights", weights, "--offline", "--out", str(tmp_path)]
        assert main([*command, "--question", "Is there a dog?", "--question", "How many violins are heard?"]) == 0
        out = capsys.readouterr().out
        assert "0.0 -   3.0 s  A dog is heard." in out
        assert "heard: dog  (davel)" in out
        assert "Is there a dog?  ->  yes" in out
        assert "How many violins are heard?  ->  zero" in out
        for stage, what in (("boxes", "GroundingDINO tiny (690 MB, Apache-2.0)"), ("masks", "SAM 2.1 tiny")):
            assert f"note: {stage}: not run, {what}" in out
        assert "--offline forbids a download); get it with 'hf download IDEA-Research/grounding-dino-tiny'" in out
        result = json.loads((tmp_path / "clip/result.json").read_text())
        assert result["provenance"]["run"] == "zero_shot"

    def test_names_of_a_dataset_or_of_a_file(self, yamnet, clip, tmp_path):
        names = tmp_path / "names.txt"
        names.write_text("hound\nDog\n\nkettle\n")
        predictor = avkit.load("zero_shot", "cpu", weights=str(yamnet), names=str(names), offline=True)
        result = predictor.predict(clip, "avvp")
        labels = result.first(ModalityLabels)
        assert labels.names == ["hound", "Dog", "kettle"]
        assert labels.audible.all(0).tolist() == [False, True, False]
        assert any("AudioSet has no class like hound, kettle" in note for note in result.notes)
        predictor = avkit.load("zero_shot", "cpu", weights=str(yamnet), names="ave", offline=True)
        assert set(predictor.predict(clip, "ave").first(StepLabels).labels) == {"Bark"}

    def test_what_is_heard_alone_is_not_called_both(self, yamnet, clip):
        result = avkit.load("zero_shot", "cpu", weights=str(yamnet), offline=True).predict(clip, "ave,davel")
        assert [event.modality for event in result.first(Events).items] == ["heard"]
        labels = result.first(StepLabels)
        assert labels.modality == "heard"
        assert StepLabels.from_json(labels.to_json()) == labels

    def test_a_folder_of_weights(self, yamnet, clip, monkeypatch):
        monkeypatch.setenv("AVKIT_WEIGHTS", str(yamnet.parent))
        result = avkit.load("zero_shot", "cpu", offline=True).predict(clip, "davel")
        assert result.first(Events).items[0].name == "dog"

    def test_a_long_video_has_small_pictures(self, yamnet):
        from avkit.media.decode import Clip
        from avkit.media.probe import MediaInfo

        predictor = avkit.load("zero_shot", "cpu", weights=str(yamnet), offline=True)

        def size(seconds):
            info = object.__new__(MediaInfo)
            values = {"size": (720, 1280), "duration": seconds, "is_image": False}
            for name, value in values.items():
                object.__setattr__(info, name, value)
            return predictor.picture_size(Clip(info), 1.0)

        assert size(10) == (360, 640)
        height, width = size(36_000)
        assert 3 * height * width * 36_000 < 1.1 * 2**29

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--parts", "sound=vggish"], r"Unknown model for sound 'vggish'.*Known: ast, clap, none, yamnet"),
            (["--parts", "sund=ast"], r"Unknown option of zero_shot 'sund'. Did you mean 'sound'"),
            (["--parts", "heard=2"], r"heard is 2; it is a probability between 0 and 1"),
            (["--parts", "heard=often"], r"--parts heard=often: heard takes float"),
            (["--parts", "sound=none"], r"sound is none, and nothing can be answered without it"),
            (["--weights", "sounds=x"], r"Unknown stage of zero_shot 'sounds'. Did you mean 'sound'"),
            (["--weights", "sound=/absent"], r"/absent, the weights for sound, does not exist"),
            (["--names", "audioset"], r"--names 'audioset' is neither a dataset \(ave, llp"),
            (["--features", "vggish"], r"zero_shot reads pictures and sound and no stored features"),
            (["--offline"], r"sound: not run, YAMNet \(15 MB, Apache-2.0\), which names what is heard, is not here"),
        ],
    )
    def test_errors_are_one_line(self, clip, tmp_path, capsys, options, message):
        assert main(["predict", "zero_shot", str(clip), "--out", str(tmp_path / "out"), *options]) == 2
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        assert "Traceback" not in error
        assert re.search(message, error), error
        assert not (tmp_path / "out").exists()

    def test_licences_have_to_be_accepted(self, yamnet, clip):
        options = {"weights": str(yamnet), "parts": "language=qwen2_5_vl_3b,boxes=none,masks=none,seen=none"}
        predictor = avkit.load("zero_shot", "cpu", **options)
        system = predictor.model.system
        assert "--accept_licence Qwen-Research" in system.parts_by_stage.why_missing("language")

    def test_options_of_zero_shot_alone(self, tmp_path):
        with pytest.raises(ValueError, match="parts and accept_licence are options of zero_shot"):
            avkit.load(tmp_path, parts="sound=ast")
        assert is_zero_shot("zero_shot")
        assert not is_zero_shot("runs/zero_shot")


class TestScored:
    @pytest.fixture(scope="class")
    def llp(self, tmp_path_factory):
        from avkit.export import export

        return export("llp", tmp_path_factory.mktemp("llp"), {"train": 2, "val": 1, "test": 2}, 32, 4.0, features=False)

    def test_as_any_system(self, llp, yamnet, tmp_path, capsys):
        options = [f"--model.system.sound_weights={yamnet}", "--model.system.offline=true", "--data.image_size=32"]
        words = ["--dataset", "llp", "--data.root", str(llp), "--data.loader.workers", "0", "--out", str(tmp_path)]
        assert main(["test", "zero_shot", *words, *options]) == 0
        out = capsys.readouterr().out
        assert "segment/Type" in out
        run = tmp_path / "zero_shot-avvp-llp"
        record = json.loads((run / "report.json").read_text())
        assert record["rows"]
        assert "none, nothing is trained" in (run / "report.json").read_text()
        lines = (run / "predictions.jsonl").read_text().splitlines()
        assert len(lines) >= 2

    def test_missing_parts_leave_no_folder(self, tmp_path, capsys, yamnet):
        from avkit.export import export

        root = export("avsbench-s4", tmp_path / "s4", {"train": 1, "val": 1, "test": 1}, 32, 4.0, features=False)
        options = [f"--model.system.sound_weights={yamnet}", "--model.system.offline=true"]
        words = ["--dataset", "avsbench-s4", "--data.root", str(root), "--data.loader.workers", "0"]
        assert main(["test", "zero_shot", *words, *options, "--out", str(tmp_path / "runs")]) == 2
        error = capsys.readouterr().err
        assert "boxes: not run, GroundingDINO tiny" in error
        assert not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "Name a dataset: avkit test zero_shot --dataset avsbench-s4"),
            (["--dataset"], "'--dataset' is no option with a value"),
            (["--data.manifest", "own.jsonl"], "Which task is to be scored on the manifest"),
            (["--dataset", "llp", "--beside", "runs/x"], "--beside shows answers beside those of a run"),
        ],
    )
    def test_what_is_left_out_is_said(self, words, message, capsys):
        assert main(["test", "zero_shot", *words]) == 2
        assert message in capsys.readouterr().err

    def test_it_cannot_be_trained(self, capsys, tmp_path):
        words = ["--tasks", "avvp", "--model.system.name", "zero_shot", "--out", str(tmp_path)]
        assert main(["fit", *words, "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]) == 2
        assert "System zero_shot has nothing to train" in capsys.readouterr().err
        assert not list(tmp_path.iterdir())


def test_the_catalogue():
    for stage in STAGES:
        for name, part in parts_of(stage).items():
            assert find_part(stage, name) == part
            assert part.megabytes
            assert part.licence
            assert part.training
    with pytest.raises(ValueError, match="smoothing is 0; give 1 or more"):
        ZeroShotConfig(smoothing=0)


FRAMES = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 3, 48, 64), np.uint8))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Makes a tiny model by name, once."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)

    def make(name):
        if not (folder / name).exists():
            vars(zero_shot_models)[name](folder / name)
        return folder / name

    return make


class TestTransformers:
    """Each part of transformers, tiny and random, through the same code as the published ones."""

    @pytest.mark.parametrize(("name", "kind"), [("grounding_dino", GroundingDINO), ("owlv2", OWLv2)])
    def test_detectors(self, models, name, kind):
        detector = kind(models(name), at_once=2).eval()
        found = detector.detect(FRAMES, ["dog", "car"], threshold=0.01)
        assert len(found) == 3
        for boxes in found:
            assert len(boxes.corners) == len(boxes.labels) == len(boxes.scores) > 0
            assert set(boxes.labels.tolist()) <= {0, 1}
            assert (boxes.scores.diff() <= 0).all()
        assert all(len(boxes.scores) == 0 for boxes in detector.detect(FRAMES, ["dog"], threshold=1.01))
        alone = detector.detect(FRAMES[2:], ["dog", "car"], threshold=0.01)[0]
        torch.testing.assert_close(alone.scores, found[2].scores)

    def test_tokens_of_each_name(self, models):
        detector = GroundingDINO(models("grounding_dino"))
        prompt = "dog. the car. "
        ids = detector.processor.tokenizer(prompt.strip())["input_ids"]
        first, second = detector._places(prompt.strip(), ["dog", "the car"])
        assert [zero_shot_models.WORDS[ids[place]] for place in first] == ["dog"]
        assert [zero_shot_models.WORDS[ids[place]] for place in second] == ["the", "car"]

    @pytest.mark.parametrize("name", ["clip", "siglip"])
    def test_presence(self, models, name):
        presence = Presence(models(name), at_once=2).eval()
        vectors = presence.embed(FRAMES)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
        scores = presence.score(vectors, [events()["dog"], events()["wind"], events()["car"]])
        assert scores.shape == (3, 3)
        assert (scores[:, 1] == 0).all()  # nobody can see the wind
        assert ((scores[:, [0, 2]] > 0) & (scores[:, [0, 2]] < 1)).all()

    def test_segmenter(self, models):
        segmenter = SAM2(models("sam2")).eval()
        corners = torch.tensor([[4.0, 4.0, 30.0, 40.0], [10.0, 5.0, 60.0, 44.0]])
        outlined = segmenter.outline(FRAMES[0], corners)
        assert outlined.shape == (2, 48, 64)
        tracked = segmenter.track(FRAMES, 1, corners)
        assert tracked.shape == (2, 3, 48, 64)
        assert ((tracked >= 0) & (tracked <= 1)).all()
        reached = [number for number, _ in segmenter._propagate(FRAMES, 1, corners.tolist(), reverse=False)]
        assert reached == [1, 2]
        assert [number for number, _ in segmenter._propagate(FRAMES, 1, corners.tolist(), reverse=True)] == [1, 0]

    def test_ast(self, models):
        tagger = ASTTagger(models("ast"), at_once=3).eval()
        features = tagger.encode(torch.randn(32_000))
        assert features.shape == (4, 3)
        scores = tagger.score(features, [events()["dog"], events()["violin"]])
        torch.testing.assert_close(scores[:, 0], features[:, 0])
        assert (scores[:, 1] == 0).all()

    def test_clap(self, models):
        from avkit.systems.zero_shot.clap import CLAPTagger

        tagger = CLAPTagger(models("clap"), at_once=3).eval()
        features = tagger.encode(torch.randn(32_000))
        torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
        scores = tagger.score(features, [events()["dog"], events()["car"]])
        assert scores.shape == (4, 2)
        assert (scores.sum(1) < 1).all()

    def test_sentence_encoder(self, models):
        encoder = SentenceEncoder(models("minilm")).eval()
        assert encoder.nearest("dog", ["car", "dog", "cat"]) == "dog"
        torch.testing.assert_close(encoder.embed(["dog", "a dog"])[0], encoder.embed(["dog"])[0])

    @pytest.mark.parametrize("track", ["true", "false"])
    def test_all_stages_of_a_video(self, models, yamnet, clip, track):
        names = {"boxes": "grounding_dino", "seen": "clip", "masks": "sam2"}
        weights = ",".join(f"{stage}={models(name)}" for stage, name in names.items())
        parts = f"track={track},box_threshold=0.01,seen_threshold=0.01"
        predictor = avkit.load("zero_shot", "cpu", weights=f"sound={yamnet},{weights}", parts=parts, offline=True)
        result = predictor.predict(clip, question="Where is the dog?")
        assert {Mask, Heat, Caption, Choice, Events, StepLabels} <= {type(answer) for answer in result.answers}
        mask = result.first(Mask)
        assert mask.maps.shape[0] == 3
        assert result.first(Events).items[0].modality == "both"
        assert result.first(Choice).answer in ("left", "middle", "right")
        assert not any("not run" in note for note in result.notes)

    def test_folders_of_something_else(self, models, yamnet, clip, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        weights = f"sound={yamnet},boxes={tmp_path}"
        result = avkit.load("zero_shot", "cpu", weights=weights, offline=True).predict(clip, "ssl")
        assert any(f"{tmp_path} cannot be read" in note for note in result.notes)


def test_real_clips_are_named(real):
    path = real / "weights/yamnet.safetensors"
    if not path.exists():
        pytest.skip("YAMNet's weights are absent")
    predictor = avkit.load("zero_shot", "cpu", weights=str(path), offline=True)
    for clip, name in (("crab/avvp/6aV6c8mY0lg.mp4", "chainsaw"), ("avqa/video/009GwYB4Z7k_000030.mp4", "crow")):
        events_of_clip = predictor.predict(real / "clips" / clip, "davel").first(Events).items
        assert max(events_of_clip, key=lambda event: event.end - event.start).name == name
