# SPDX-License-Identifier: Apache-2.0
"""The contract of every task, through the whole model, on small scenes."""

import copy
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from avkit.batch import Item, Prediction, Vocabulary
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.errors import AvkitError
from avkit.heads import HEADS
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.tasks import TASKS, build_tasks, find_task, split_names
from avkit.training.evaluator import Evaluator, fit_baselines, silence, swap_audio
from avkit.training.module import INTERFACES, AVModel

SCENES = Scenes("train", size=30, image_size=32)
VOCABULARY = SCENES.vocabulary


def item(task, index=0):
    cls = find_task(task)
    return SCENES.item(index, frozenset((*cls.targets, *cls.optional)) & SCENES.provides)


def batch(task, count=3):
    return collate([item(task, i) for i in range(count)], task)


def model(tasks, interface="heads", **system):
    torch.manual_seed(0)
    return AVModel(tasks, VOCABULARY, AVUnifiedConfig(width=32, **system), interface=interface).eval()


def losses_of(net, batch):
    return net.system.loss(net.system(batch), batch)


def same(a, b):
    for name, value in a.values.items():
        if isinstance(value, torch.Tensor):
            assert value.shape == b.values[name].shape
            torch.testing.assert_close(value, b.values[name], atol=1e-5, rtol=1e-5, equal_nan=True)
        elif name == "event_list":
            for one, other in zip(value, b.values[name], strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        else:
            assert value == b.values[name], name


@pytest.mark.parametrize("task", TASKS)
def test_loss_is_finite_and_reaches_every_parameter_of_the_head(task):
    net = model(task).train()
    losses = losses_of(net, batch(task))
    assert all(torch.isfinite(x) for x in losses.values())
    losses["loss"].backward()
    for name, p in net.system.head(task).named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
    unused = ("query_time", "frame", "text")
    if not net.system.head(task).cross_modal:
        unused += ("cross", "spatial", "gate", "temporal")
    for name, p in net.system.named_parameters():
        assert p.grad is not None or any(part in name for part in unused), name


@pytest.mark.parametrize("task", TASKS)
def test_prediction_needs_no_targets(task):
    net, given = model(task), batch(task)
    with torch.no_grad():
        same(net(given), net(replace(given, targets={})))


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("task", TASKS)
def test_padding_changes_no_prediction(task, interface):
    net = model(task, interface)
    short, long = crop(item(task, 0), 2, 4), item(task, 1)
    if task == "avqa":  # a question belongs to a whole clip, but its head must not care
        short = replace(short, text=item(task, 0).text)
    with torch.no_grad():
        alone = net(collate([short], task))
        padded = net(collate([short, long], task))
    first = {}
    for name, value in padded.values.items():
        cut = value[:1]
        if name.startswith(("mask", "class", "event_logits", "audio", "visual", "heat", "boxes")):
            cut = cut[:, :4]
        first[name] = [row[:4] for row in cut] if name in ("caption", "event") else cut
    same(alone, Prediction(task, alone.id, first))


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("task", TASKS)
def test_a_clip_of_one_step_is_learnt_from_and_answered(task, interface):
    net = model(task, interface).train()
    given = collate([crop(item(task, i), 3, 1) for i in range(2)], task)
    losses = losses_of(net, given)
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    with torch.no_grad():
        values = net.eval()(given).values
    for value in values.values():
        assert not isinstance(value, torch.Tensor) or bool(value.isfinite().all())


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("task", ["ave", "ave_weak", "avvp", "avs", "davel"])
def test_a_batch_without_any_event_is_learnt_from(task, interface):
    net = model(task, interface).train()
    given = batch(task)
    for name, value in given.targets.items():
        if name == "events":
            given.targets[name] = [x[:0] for x in value]
        elif name != "mask_known":
            given.targets[name] = torch.zeros_like(value)
    losses = losses_of(net, given)
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    evaluator = Evaluator(net.tasks, quick=True)
    with torch.no_grad():
        evaluator.update(net.eval()(given), given)
    assert net.tasks[task].headline[0] in evaluator.compute(task)


@pytest.mark.parametrize("task", ["avs", "ra_ssu"])
def test_what_lies_behind_the_end_of_a_clip_changes_no_loss(task):
    net = model(task)
    given = collate([crop(item(task, 0), 2, 4), item(task, 1)], task)
    changed = replace(given, frames=given.frames.clone(), targets=dict(given.targets))
    changed.frames[0, 4:] = 200
    for name in ("mask", "mask_known", "class_mask"):
        changed.targets[name] = given.targets[name].clone()
        changed.targets[name][0, 4:] = 1

    def losses(batch):
        torch.manual_seed(0)  # which steps are shown true regions
        return losses_of(net, batch)

    net.train()
    with torch.no_grad():
        one, other = losses(given), losses(changed)
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("task", ["avs", "ra_ssu"])
def test_a_batch_without_any_truth_has_a_finite_loss(task):
    net, given = model(task).train(), batch(task, 2)
    given.targets["mask_known"][:] = False
    if task == "ra_ssu":
        given.targets["caption"] = [[""] * 10, [""] * 10]
    loss = losses_of(net, given)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("size", [(16, 16), (33, 18), (47, 50)])
def test_pictures_of_any_size_get_masks_of_that_size(size):
    net = model("avs")
    frames = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.no_grad():
        found = net(collate([Item("x", 2.0, 1.0, frames, torch.zeros(32_000))], "avs"))
    assert found["mask"].shape == (1, 2, *size)
    assert found["class_logits"].shape == (1, 2, 13, *size)
    assert ((found["mask"] >= 0) & (found["mask"] <= 1)).all()


@pytest.mark.parametrize("task", TASKS)
def test_weights_survive_saving(task, tmp_path):
    net, given = model(task), batch(task, 2)
    torch.save(net.state_dict(), tmp_path / "x.pt")
    other = AVModel(task, VOCABULARY, AVUnifiedConfig(width=32)).eval()
    other.load_state_dict(torch.load(tmp_path / "x.pt", weights_only=True))
    with torch.no_grad():
        same(net(given), other(given))


@pytest.mark.parametrize("task", TASKS)
def test_truth_scores_perfectly_and_baselines_run(task):
    tasks, given = build_tasks([task], VOCABULARY), batch(task, 24)
    truth = given.targets
    values = {}
    if "mask" in truth:
        values["mask"] = truth["mask"].float()
        one_hot = torch.nn.functional.one_hot(truth["class_mask"].long(), 13).float() if "class_mask" in truth else None
        values["class_logits"] = one_hot.movedim(-1, 2) * 9 if one_hot is not None else None
    if "caption" in truth:
        values["caption"] = truth["caption"]
    if "answer" in truth:
        index = torch.tensor([VOCABULARY.answers.index(a) for a in truth["answer"]])
        values["answer_logits"] = torch.nn.functional.one_hot(index, len(VOCABULARY.answers)).float()
    if "audio_segments" in truth:
        values["audio_scores"], values["visual_scores"] = truth["audio_segments"], truth["visual_segments"]
        both = (truth["audio_segments"] & truth["visual_segments"]).float()
        values["event_logits"] = torch.cat([torch.full_like(both[..., :1], 0.5), both], -1)
        values["clip_scores"] = torch.ones(len(given), len(VOCABULARY.classes))
    if "events" in truth:
        values["event_list"] = [torch.cat([x, torch.ones(len(x), 1)], 1) for x in truth["events"]]
    if task == "ssl":
        values["heat"] = torch.nn.functional.interpolate(truth["source"], (8, 8), mode="area")
    evaluator = Evaluator(tasks, quick=True)
    evaluator.update(Prediction(task, given.id, values), given)
    figures = evaluator.compute(task)
    if task == "ssl":  # officially half of the picture is taken for the source
        assert figures["cIoU@0.5"] > 0.75
    for name in tasks[task].headline if task != "ssl" else ():
        # officially a video without any truth adds nothing to F and still counts
        best = truth["mask"].flatten(1).any(1).float().mean().item() if name == "F" else 1
        assert figures[name] == pytest.approx(best, abs=1e-4), name
    for name, rule in fit_baselines(tasks, {task: [given]})[task].items():
        evaluator.update(rule(given), given, name)
        for metric in tasks[task].headline:
            assert 0 <= evaluator.compute(task, name)[metric] < 1


def test_perfect_classes_score_perfectly_and_background_does_not():
    tasks, given = build_tasks(["avs"], VOCABULARY), batch("avs", 24)
    classes = torch.nn.functional.one_hot(given.targets["class_mask"].long(), 13).float().movedim(-1, 2)
    masks = given.targets["mask"].float()
    evaluator = Evaluator(tasks)
    evaluator.update(Prediction("avs", given.id, {"mask": masks, "class_logits": classes}), given)
    background = torch.zeros_like(classes)
    background[:, :, 0] = 1
    worse = build_tasks(["avs"], VOCABULARY)["avs"].metrics()
    tasks["avs"].score(worse, Prediction("avs", given.id, {"mask": masks, "class_logits": background}), given)
    figures, wrong = evaluator.compute("avs"), worse["AVSS"].compute()
    semantic = {name: value for name, value in figures.items() if name.startswith("AVSS")}
    assert len(semantic) == 4
    for name, value in semantic.items():
        assert value == pytest.approx(1, abs=1e-4), name
        assert wrong[name.removeprefix("AVSS ")] < 0.5, name


def test_the_evaluator_says_what_scores_count_and_which_clips_were_scored():
    given, other = batch("avqa", 3), batch("avqa", 2)
    right = [VOCABULARY.answers.index(a) for a in given.targets["answer"]]
    scores = torch.nn.functional.one_hot(torch.tensor(right), 23).float()
    evaluator, again, fewer = (Evaluator(build_tasks(["avqa"], VOCABULARY)) for _ in range(3))
    evaluator.update(Prediction("avqa", given.id, {"answer_logits": scores}), given)
    again.update(Prediction("avqa", given.id, {"answer_logits": -scores}), given)
    fewer.update(Prediction("avqa", other.id, {"answer_logits": scores[:2]}), other)
    row = evaluator.compute_rows("avqa")["Overall"]
    assert (row.value, row.n, row.counted) == (1, 3, "questions")
    assert 0 < row.low < row.high == 1
    assert evaluator.clips_digest("avqa") == again.clips_digest("avqa") != fewer.clips_digest("avqa")
    assert copy.deepcopy(evaluator).clips_digest("avqa") == evaluator.clips_digest("avqa")
    evaluator.update(Prediction("avqa", given.id, {"answer_logits": -scores}), given)
    assert evaluator.compute_rows("avqa")["Overall"].n == 6


def test_the_evaluator_keeps_contestants_apart():
    given = batch("avqa", 3)
    evaluator = Evaluator(build_tasks(["avqa"], VOCABULARY))
    right = [VOCABULARY.answers.index(a) for a in given.targets["answer"]]
    scores = torch.nn.functional.one_hot(torch.tensor(right), 23).float()
    evaluator.update(Prediction("avqa", given.id, {"answer_logits": scores}), given)
    evaluator.update(Prediction("avqa", given.id, {"answer_logits": -scores}), given, "contrary")
    assert evaluator.compute("avqa")["Overall"] == 1
    assert evaluator.compute("avqa", "contrary")["Overall"] == 0
    assert evaluator.contestants("avqa") == ["model", "contrary"]
    assert evaluator.clips == {"avqa": 3}
    assert evaluator.compute("avqa", "nobody") == {}


def test_answers_outside_the_vocabulary_are_not_learnt_and_score_wrong():
    net, given = model("avqa"), batch("avqa", 3)
    given.targets["answer"] = ["never heard of"] * 3
    assert losses_of(net, given)["loss"].item() == 0
    net.evaluator.update(net(given), given)
    assert net.evaluator.compute("avqa")["Overall"] == 0


def test_questions_that_share_a_clip_are_answered_as_if_alone():
    net = model("avqa")
    data = Scenes("train", size=30, image_size=32, all_questions=True)
    together = collate([data.item(i, frozenset({"answer", "question_type"})) for i in range(2)], "avqa")
    assert len(together) > 2
    assert together.frames.shape[0] == 2
    with torch.no_grad():
        found = net(together)["answer_logits"]
        for row in range(len(together)):
            clip = int(together.clip[row])
            alone = Item("x", 10.0, 1.0, together.frames[clip], together.waveform[clip], text=together.text[row])
            torch.testing.assert_close(
                net(collate([alone], "avqa"))["answer_logits"][0], found[row], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("switch", ["temporal", "spatial", "gate"])
def test_modules_can_be_switched_off(switch):
    net = model("avs,avqa", **{switch: False})
    assert getattr(net.system, switch) is None
    with torch.no_grad():
        assert torch.isfinite(net(batch("avs", 1))["mask"]).all()
        assert torch.isfinite(net(batch("avqa", 1))["answer_logits"]).all()


def from_stored_features(task, patches, count=2):
    """A batch of scenes with features of as many patches in place of pictures and sound."""
    given = batch(task, count)
    visual = torch.randn(*given.valid.shape, patches, 5)
    return replace(given, frames=None, waveform=None, visual=visual, audio=torch.randn(*given.valid.shape, 7))


@pytest.mark.parametrize(
    ("task", "patches", "interface"),
    [("avs", 1, "heads"), ("avs", 7, "heads"), ("ra_ssu", 16, "heads"), ("ssl", 7, "heads"), ("avs", 16, "sequence")],
)
def test_dense_answers_from_stored_features_are_scored_at_the_size_of_the_truth(task, patches, interface):
    torch.manual_seed(0)
    net = AVModel(task, VOCABULARY, AVUnifiedConfig(width=32), interface=interface, features={task: [5, 7]}).eval()
    given = from_stored_features(task, patches)
    evaluator = Evaluator(net.tasks, quick=task == "ra_ssu")
    with torch.no_grad():
        prediction = net(given)
        evaluator.update(prediction, given)
    if task != "ssl":
        assert prediction["mask"].shape == given.targets["mask"].shape
        assert evaluator.compute(task)["mIoU"] >= 0
    if task == "avs":
        assert prediction["class_logits"].shape[-2:] == given.targets["class_mask"].shape[-2:]
        assert evaluator.compute(task)["AVSS mIoU"] >= 0
    assert evaluator.compute(task)[net.tasks[task].monitor] >= 0


def test_masks_from_stored_features_are_the_logits_brought_to_the_size_of_the_truth():
    torch.manual_seed(0)
    net = AVModel("avs", VOCABULARY, AVUnifiedConfig(width=32), features={"avs": [5, 7]}).eval()
    given = from_stored_features("avs", 16)
    with torch.no_grad():
        logits = net.system(given).maps[:, :, 0]
        scored = net(given)["mask"]
        unscored = net(replace(given, targets={}))["mask"]
    assert logits.shape[-2:] == unscored.shape[-2:] == (8, 8)
    larger = torch.nn.functional.interpolate(logits, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(scored, larger.sigmoid())
    torch.testing.assert_close(unscored, logits.sigmoid())


def test_stored_features_stand_for_encoders():
    net = model("avqa", visual_features=5, audio_features=7)
    assert net.system.visual is None
    items = [
        Item(f"{i}", 3.0, 1.0, visual=torch.randn(3, 4, 5), audio=torch.randn(3, 7), text="how many things are seen")
        for i in range(2)
    ]
    with torch.no_grad():
        assert net(collate(items, "avqa"))["answer_logits"].shape == (2, 23)
    with pytest.raises(ValueError, match="reads stored visual features, and the batch has none"):
        net(batch("avqa", 1))
    seen = collate([Item("x", 3.0, 1.0, visual=torch.randn(3, 4, 5), text="what")], "avqa")
    with pytest.raises(ValueError, match="reads stored audio features, and the batch has none"):
        net(seen)
    with pytest.raises(ValueError, match="reads frames, and the batch has none"):
        model("avqa")(seen)
    unheard = collate([Item("x", 2.0, 1.0, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), text="what")], "avqa")
    with pytest.raises(ValueError, match="reads waveforms, and the batch has none"):
        model("avqa")(unheard)


def test_another_prompt_changes_the_tokens():
    net, other = model("avs"), model("avs")
    other.system.prompts["avs"] = "answer the question"
    given = batch("avs", 1)
    assert not torch.allclose(net.system.tokens(given).patches, other.system.tokens(given).patches)
    with pytest.raises(ValueError, match="loss_weights names avqa; the tasks of this run are avs"):
        AVModel("avs", VOCABULARY, loss_weights={"avqa": 2.0})
    with pytest.raises(ValueError, match="prompts names avz; the tasks of this run are avs"):
        AVModel("avs", VOCABULARY, prompts={"avz": "x"})


def test_silence_and_swapped_sound():
    given = batch("avs", 3)
    assert silence(given).waveform.abs().max() == 0
    assert torch.equal(swap_audio(given).waveform[1], given.waveform[0])
    assert torch.equal(swap_audio(batch("avs", 1)).frames, batch("avs", 1).frames)
    assert not torch.equal(swap_audio(batch("avs", 1)).waveform, batch("avs", 1).waveform)
    stored = collate([Item(name, 3.0, audio=torch.randn(3, 7)) for name in "ab"], "avqa")
    assert silence(stored).audio.abs().max() == 0
    assert torch.equal(swap_audio(stored).audio[0], stored.audio[1])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("avz", "Unknown task 'avz'. Did you mean 'avs'"),
        ("", "No task is named. Name one or more of ra_ssu, ave"),
        (" , ", "No task is named"),
        ("avs,avs", "A task is named twice in 'avs,avs'"),
        ("al", "Did you mean 'all'"),
        (["avs", "nothing like it"], "Unknown task 'nothing like it'. Known: all, ave, ave_weak, avqa, avs"),
    ],
)
def test_names_of_tasks(tasks, message):
    with pytest.raises(ValueError, match=message):
        split_names(tasks)


def test_all_tasks_and_tasks_from_outside():
    assert split_names("all") == [name for name in TASKS if name != "ave_weak"]
    assert split_names(" avs , avqa,") == ["avs", "avqa"]
    assert find_task(split_names("avkit.tasks.avs:Segmentation")[0]).name == "avs"


def test_a_task_from_outside_goes_through_the_model(monkeypatch):
    outside = ModuleType("outside")
    outside.tasks = ModuleType("outside.tasks")
    members = {"name": "yes", "default_head": "avkit.heads.answer:AnswerHead"}
    outside.tasks.Yes = type("Yes", (find_task("avqa"),), members)
    monkeypatch.setitem(sys.modules, "outside", outside)
    monkeypatch.setitem(sys.modules, "outside.tasks", outside.tasks)
    name = "outside.tasks:Yes"
    net, given = model(f"avs,{name}"), replace(batch("avqa", 2), task=name)
    net.evaluator.update(net(given), given)
    assert 0 <= net.evaluator.compute(name)["Overall"] <= 1
    net.log_dict = lambda *_, **__: None
    assert torch.isfinite(net.training_step(given, 0)["loss"])
    again = AVModel(",".join(net.tasks), VOCABULARY, AVUnifiedConfig(width=32))
    again.load_state_dict(net.state_dict())


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere.tasks:X", "No module named 'nowhere'"), ("avkit.tasks.avs:X", "no attribute 'X'"), (":X", "Empty")],
)
def test_a_task_from_outside_that_is_not_there(name, why):
    with pytest.raises(ValueError, match=f"Cannot load task '{name}': .*{why}.*package.module:Class"):
        find_task(split_names(name)[0])


@pytest.mark.parametrize(("task", "lacks"), [("avqa", "answers"), ("ra_ssu", "words")])
def test_tasks_say_what_the_vocabulary_lacks(task, lacks):
    with pytest.raises(ValueError, match=f"'{task}' needs {lacks}"):
        build_tasks([task], Vocabulary())


def test_nan_in_features_names_clip_and_count():
    broken = torch.randn(3, 7)
    broken[1, 2:4] = torch.nan
    items = [Item("good", 3.0, audio=torch.randn(3, 7)), Item("bad", 3.0, audio=broken)]
    with pytest.raises(ValueError, match="Item 'bad': 2 of 21 values of 'audio' are NaN or infinite"):
        collate(items, "avqa")


def test_clips_that_do_not_fit_together():
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"hops of 1\.0 and 0\.5 s"):
        collate([Item("a", 2.0, 1.0, frames), Item("b", 1.0, 0.5, frames)], "avs")
    with pytest.raises(ValueError, match="'frames' has different sizes in one batch"):
        collate([Item("a", 2.0, 1.0, frames), Item("b", 2.0, 1.0, frames[..., :4])], "avs")
    with pytest.raises(ValueError, match=r"'waveform' is missing in \['b'\] and present in the rest"):
        collate([Item("a", 2.0, 1.0, frames, torch.zeros(32_000)), Item("b", 2.0, 1.0, frames)], "avs")
    with pytest.raises(ValueError, match="Item 'c' has neither frames nor features"):
        collate([Item("c", 2.0)], "avs")
    with pytest.raises(ValueError, match="different targets"):
        collate([Item("a", 2.0, 1.0, frames, targets={"answer": "x"}), Item("b", 2.0, 1.0, frames)], "avs")


def test_crop_takes_pictures_sound_and_targets_along():
    whole = item("ra_ssu", 3)
    part = crop(whole, 4, 3)
    assert part.steps == 3
    assert torch.equal(part.frames, whole.frames[4:7])
    assert torch.equal(part.waveform, whole.waveform[64_000:112_000])
    assert torch.equal(part.targets["mask"], whole.targets["mask"][4:7])
    assert part.targets["caption"] == whole.targets["caption"][4:7]
    assert part.duration == 3.0
    assert crop(whole, 0, 99) is whole
    assert crop(whole, 8, 3).duration == 2.0  # no more than there is


def test_crop_of_stored_features():
    part = crop(Item("x", 4.5, 0.5, visual=torch.arange(9.0).view(9, 1, 1), audio=torch.arange(9.0)[:, None]), 3, 2)
    assert part.visual.flatten().tolist() == part.audio.flatten().tolist() == [3.0, 4.0]
    assert part.duration == 1.0


def test_several_questions_become_samples_of_one_clip():
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)

    def asked(name, texts, answers):
        return Item(name, 2.0, 1.0, frames, text=texts, targets={"answer": answers, "question_type": answers})

    found = collate([asked("a", ["p", "q"], ["1", "2"]), asked("b", "r", "3"), asked("c", ["s"], ["4"])], "avqa")
    assert found.id == ["a", "a", "b", "c"]
    assert found.text == ["p", "q", "r", "s"]
    assert found.targets["answer"] == ["1", "2", "3", "4"]
    assert found.clip.tolist() == [0, 0, 1, 2]
    assert found.frames.shape[0] == found.valid.shape[0] == 3
    assert collate([asked("b", "r", "3"), asked("c", ["s"], ["4"])], "avqa").clip is None
    moved = found.to("meta")
    assert moved.clip.is_meta
    assert moved.frames.is_meta
    assert moved.text == found.text


def test_shorter_clips_are_padded_with_zeros():
    items = [Item(name, float(n), audio=torch.ones(n, 3)) for name, n in (("a", 2), ("b", 4))]
    found = collate(items, "avqa")
    assert found.valid.tolist() == [[True, True, False, False], [True] * 4]
    assert found.audio.sum((1, 2)).tolist() == [6, 12]
    assert found.text is None


def test_missing_library_names_the_extra(monkeypatch):
    from avkit.encoders import build_visual_encoder
    from avkit.encoders.registry import ENCODERS, EncoderEntry

    monkeypatch.setitem(ENCODERS["visual"], "pvt_v2_b0", EncoderEntry("avkit.encoders.no_such_library:X"))
    with pytest.raises(AvkitError, match=r"visual encoder 'pvt_v2_b0' needs a library.*avkit\[pretrained\]"):
        build_visual_encoder("pvt_v2_b0")
    with pytest.raises(ValueError, match="Did you mean 'small'"):
        build_visual_encoder("smal")


def test_modalities_stay_apart_in_a_share_of_the_steps_where_a_head_needs_it(monkeypatch):
    net = model("avs,avvp", unimodal_share=0.3).train()
    given = batch("avs", 1)
    attended = []
    temporal = net.system.temporal.forward

    def recorded(audio, frame, valid, *, cross_modal):
        attended.append(cross_modal)
        return temporal(audio, frame, valid, cross_modal=cross_modal)

    monkeypatch.setattr(net.system.temporal, "forward", recorded)
    for step in range(20):
        net.system.on_step_start(step)
        net.system.tokens(given)
    assert attended.count(False) == 6
    net.eval().system.tokens(given)
    assert attended[-1]
    alone = model("avs", unimodal_share=0.3).train()
    alone.system.on_step_start(0)
    assert not alone.system._unimodal_step


@pytest.mark.parametrize("task", sorted(HEADS))
def test_the_first_head_of_the_table_is_the_default_of_its_task(task):
    assert find_task(task).default_head == next(iter(HEADS[task].values()))
