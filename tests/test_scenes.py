# SPDX-License-Identifier: Apache-2.0
"""The built-in scenes: targets are checked against pixels, samples, slow references, and rules of one modality."""

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.fields import FIELDS
from avkit.scenes import (
    ANSWERS,
    CAPTION_WORDS,
    CLASSES,
    COLOURS,
    MUSIC_AVQA_TYPES,
    SIZES,
    WORDS,
    render,
    render_frames,
    render_sound,
    sample_question,
    sample_scene,
    scene_captions,
    scene_questions,
    scene_targets,
    swap_scene_sound,
    track,
)
from avkit.scenes.captioning import VERBS
from avkit.scenes.preview import contact_sheet
from avkit.scenes.world import overlap

RATE = 16_000


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(i) for i in range(300)]


@pytest.fixture(scope="module")
def sampled_questions():
    return [sample_question(i) for i in range(1800)]


def only(thing, scene, **changes):
    """The scene with nothing but one thing, changed."""
    return replace(scene, snr=60.0, things=(replace(thing, **changes),))


# --- items


def test_an_item_has_every_field_with_the_type_and_shape_it_declares():
    dataset = Scenes("val")
    item = dataset[3]
    assert dataset.provides == item.targets.keys()
    assert set(FIELDS) - dataset.provides == {"choices"}, "questions of scenes have no choices"
    assert (item.id, item.duration, item.hop, item.steps) == ("scenes-val-000003", 10.0, 1.0, 10)
    assert item.frames.shape == (10, 3, 96, 96)
    assert item.frames.dtype == torch.uint8
    assert item.waveform.shape == (160_000,)
    assert item.waveform.dtype == torch.float32
    shapes = {
        "mask": (torch.uint8, (10, 96, 96)),
        "mask_known": (torch.bool, (10,)),
        "class_mask": (torch.uint8, (10, 96, 96)),
        "instance_mask": (torch.uint8, (10, 96, 96)),
        "boxes": (torch.float32, (10, 4, 4)),
        "audio_segments": (torch.uint8, (10, 12)),
        "visual_segments": (torch.uint8, (10, 12)),
        "video_labels": (torch.uint8, (12,)),
    }
    for name, (dtype, shape) in shapes.items():
        assert item.targets[name].dtype == dtype, name
        assert item.targets[name].shape == shape, name
    assert item.targets["events"].shape[1] == 3
    assert len(item.targets["caption"]) == 10
    assert item.targets["answer"] in dataset.vocabulary.answers
    assert item.targets["question_type"] in MUSIC_AVQA_TYPES
    assert item.text.split()[0] in {"how", "does", "is", "where", "which"}
    assert item.targets["mask_known"].all()


def test_only_the_fields_wanted_are_made_and_a_question_is_one_of_them():
    dataset = Scenes("train", size=5, image_size=48)
    plain = dataset.item(2, {"caption", "video_labels"})
    assert set(plain.targets) == {"caption", "video_labels"}
    assert plain.text is None
    question = dataset.item(2, frozenset({"answer"}))
    assert set(question.targets) == {"answer"}
    assert question.text
    assert len(dataset) == 5
    assert plain.frames.shape[-1] == 48


def test_items_form_a_batch():
    dataset = Scenes("test", image_size=32)
    batch = collate([dataset.item(i, {"mask", "boxes", "events", "caption"}) for i in range(3)], "avs")
    assert batch.targets["mask"].shape == (3, 10, 32, 32)
    assert batch.targets["boxes"].shape == (3, 10, 4, 4)
    assert [x.shape[1] for x in batch.targets["events"]] == [3, 3, 3]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: Scenes("tran"), ValueError, "Unknown split 'tran'. Did you mean 'train'.* Known: test, train, val"),
        (lambda: Scenes(size=0), ValueError, "size=0: a split has 1 clip or more. Leave it out for 20000"),
        (lambda: Scenes("val", size=3)[3], IndexError, "index=3: the val split has clips 0 to 2"),
        (lambda: Scenes("val").item(0, {"msk"}), ValueError, "Unknown field of scenes 'msk'. Did you mean 'mask'"),
        (lambda: Scenes("val", untrimmed=True).item(0, {"answer"}), ValueError, "Unknown field of untrimmed scenes"),
        (lambda: sample_scene(-1), ValueError, "index=-1, seed=0, attempt=0: .* from 0 upwards"),
        (lambda: sample_scene(0, "dev"), ValueError, "Unknown split 'dev'"),
        (lambda: sample_question(0, "dev"), ValueError, "Unknown split 'dev'"),
        (lambda: render_frames(sample_scene(0), 8), ValueError, "size=8 pixels is too small .* Take 24 or more"),
        (lambda: scene_captions(sample_scene(0), 0), ValueError, "hop=0 s does not fit a scene of 10.0 s"),
        (lambda: scene_captions(sample_scene(0), 30), ValueError, "hop=30 s does not fit"),
        (lambda: scene_targets(sample_scene(0), fields=["sound"]), ValueError, "Unknown field of a scene 'sound'"),
        (lambda: contact_sheet([], "x.png"), ValueError, "one scene or more"),
        (
            lambda: swap_scene_sound(sample_scene(0), sample_scene(0, untrimmed=True)),
            ValueError,
            "Scenes of 10.0 s and .* s cannot swap sound",
        ),
    ],
)
def test_errors_say_what_was_wrong_and_what_to_do(call, error, match):
    with pytest.raises(error, match=match):
        call()


# --- the same on every machine


def test_bytes_are_pinned():
    digest = hashlib.sha256()
    for untrimmed in (False, True):
        dataset = Scenes("test", image_size=64, untrimmed=untrimmed)
        for i in range(4):
            item = dataset[i]
            digest.update(item.frames.numpy().tobytes())
            for name in ("mask", "class_mask", "instance_mask", "audio_segments", "visual_segments", "video_labels"):
                digest.update(item.targets[name].numpy().tobytes())
            digest.update(
                "|".join([*item.targets["caption"], item.text or "", item.targets.get("answer", "")]).encode()
            )
    assert digest.hexdigest()[:16] == "996a99ce33089b15"


def test_an_index_gives_one_scene_and_splits_seeds_and_indices_differ():
    assert sample_scene(5, "val", 1) == sample_scene(5, "val", 1)
    keys = [(s, seed, i) for s in ("train", "val", "test") for seed in (0, 1) for i in range(50)]
    assert len({sample_scene(i, s, seed).things for s, seed, i in keys}) == len(keys)
    assert len({sample_question(i, s, seed)[0].things for s, seed, i in keys}) == len(keys)


# --- targets against pixels, spans and samples


def test_masks_are_what_the_topmost_thing_does(scenes):
    for scene in scenes[:40]:
        t = scene_targets(scene, 48)
        for step in range(10):
            for label in np.unique(t["instance_mask"][step]):
                pixels = t["instance_mask"][step] == label
                thing = scene.things[label - 1] if label else None
                sounding = thing is not None and any(a <= step + 0.5 < b for a, b in thing.sounding)
                assert (t["mask"][step][pixels] == sounding).all()
                assert (t["class_mask"][step][pixels] == (thing.kind + 1 if sounding else 0)).all()
                assert thing is None or any(a <= step + 0.5 < b for a, b in thing.visible)


def test_later_things_hide_earlier_ones():
    scene = sample_scene(0)
    first = replace(scene.things[0], kind=5, size=2, visible=((0.0, 10.0),), start=(0.5, 0.5), velocity=(0.0, 0.0))
    stack = replace(scene, things=(first, replace(first, kind=0, size=0, colour=(first.colour + 1) % 10)))
    t = scene_targets(stack, 96, fields=["instance_mask", "boxes"])
    assert (t["instance_mask"][:, 48, 48] == 2).all()
    assert {0, 1, 2} == set(np.unique(t["instance_mask"]))
    hidden = scene_targets(replace(stack, things=stack.things[::-1]), 96, fields=["boxes"])["boxes"]
    assert np.isnan(hidden[:, 0]).all()
    assert not np.isnan(hidden[:, 1]).any()


def test_boxes_enclose_the_instance_masks(scenes):
    for scene in scenes[:30]:
        t = scene_targets(scene, 64)
        for step in range(10):
            for i in range(4):
                ys, xs = np.nonzero(t["instance_mask"][step] == i + 1)
                box = t["boxes"][step, i]
                if len(xs):
                    assert np.allclose(box * 64, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                else:
                    assert np.isnan(box).all()


def test_pictures_show_a_thing_exactly_where_its_mask_is(scenes):
    for scene in scenes[:20]:
        frames, _, t = render(scene)
        empty = render_frames(replace(scene, things=tuple(replace(x, visible=()) for x in scene.things)))
        changed = (frames != empty).any(1)
        inside = t["instance_mask"] > 0
        assert changed[inside].mean() > 0.97
        # half-covered pixels at outlines and sharp corners change too, pixels away from them do not
        near = inside.copy()
        for axis in (1, 2, 1, 2):
            near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
        assert changed[~near].mean() < 1e-4


def test_a_scene_looks_the_same_at_every_size(scenes):
    for scene in scenes[:10]:
        small, large = (scene_targets(scene, size, fields=["instance_mask"])["instance_mask"] > 0 for size in (64, 192))
        coarse = large.reshape(10, 64, 3, 64, 3).mean((2, 4)) > 0.5
        assert (coarse != small).mean() < 0.01


def test_segments_labels_and_events_agree_with_each_other(scenes):
    for scene in scenes:
        t = scene_targets(scene, fields=["audio_segments", "visual_segments", "video_labels", "events"])
        either = (t["audio_segments"] | t["visual_segments"]).any(0)
        assert (t["video_labels"] == either).all()
        twins = Counter(x.kind for x in scene.things)
        both = t["audio_segments"] & t["visual_segments"]
        for kind in (k for k, n in twins.items() if n == 1):
            steps = np.zeros(10, bool)
            for start, end, _ in t["events"][t["events"][:, 2] == kind]:
                assert end > start
                assert start == int(start)
                assert end == int(end)
                steps[int(start) : int(end)] = True
            assert (steps == both[:, kind].astype(bool)).all()


def test_half_steps_have_the_state_of_their_middle():
    scene = sample_scene(8)
    whole, half = (scene_targets(scene, 32, hop, ["audio_segments", "visual_segments"]) for hop in (1.0, 0.5))
    for name in whole:
        assert (half[name] == np.repeat(whole[name], 2, axis=0)).all()


def test_sound_is_in_its_spans_and_follows_its_loudness():
    scene = sample_scene(3)
    steady = {"sounding": ((2.0, 5.0), (7.0, 9.0)), "rhythm": 0, "loudness": (0.4,) * 4 + (0.8,) * 6}
    for kind in (2, 3, 5, 11):
        wave = render_sound(only(scene.things[0], scene, kind=kind, **steady))
        power = np.sqrt((wave.reshape(100, 1600) ** 2).mean(1))
        sounding = np.zeros(100, bool)
        sounding[20:50] = sounding[70:90] = True
        assert power[sounding].min() > 10 * power[~sounding].max()
        assert 1.6 < power[70:90].mean() / power[22:34].mean() < 2.4
        assert abs(wave[32_000]) < 0.01


def test_noise_has_the_stated_level_and_the_peak_stays_below_one(scenes):
    silent = only(scenes[0].things[0], scenes[0], sounding=())
    loud = only(
        scenes[0].things[0], scenes[0], kind=2, rhythm=0, gain=1.0, sounding=((0.0, 10.0),), loudness=(1.0,) * 10
    )
    for snr in (15.0, 30.0):
        noise = render_sound(replace(silent, snr=snr))
        assert 20 * np.log10(render_sound(loud).std() / noise.std()) == pytest.approx(snr, abs=1.5)
    for scene in scenes[:40]:
        assert np.abs(render_sound(scene)).max() < 1


# --- swapped and blind


def iou(pred, true):
    """AVSBench: mean over steps of the overlap; where nothing sounds, the share of pixels left empty."""
    union = (pred | true).sum((1, 2))
    hit = (pred & true).sum((1, 2)) / np.maximum(union, 1)
    return np.where(true.any((1, 2)), hit, 1 - pred.mean((1, 2))).mean()


def test_another_sound_gives_other_targets_of_the_same_pictures(scenes):
    changed = Counter()
    for scene, other in zip(scenes[:60], scenes[60:120], strict=True):
        swapped = swap_scene_sound(scene, other)
        old, new = scene_targets(scene, 48), scene_targets(swapped, 48)
        visible, sounding = (
            {t.kind for t in s.things if used(t)} for s, used in ((scene, _visible), (other, _sounding))
        )
        if not visible & sounding:
            assert (render_frames(scene, 48) == render_frames(swapped, 48)).all()
            assert not new["mask"].any()
        assert (new["audio_segments"] == scene_targets(other, 48)["audio_segments"]).all()
        assert (new["visual_segments"] == old["visual_segments"]).all()
        same = replace(swapped, texture=other.texture)
        assert np.allclose(render_sound(same), render_sound(other), atol=1e-5)
        changed["mask"] += bool((old["mask"] != new["mask"]).any())
        changed["caption"] += old["caption"] != new["caption"]
        changed["events"] += old["events"].tolist() != new["events"].tolist()
    assert min(changed.values()) >= 50


def _visible(thing):
    return bool(thing.visible)


def _sounding(thing):
    return bool(thing.sounding)


def test_masks_need_both_modalities():
    size = 32
    targets = [scene_targets(sample_scene(i), size) for i in range(300)]
    mean = np.mean([t["mask"].mean(0) for t in targets[150:]], 0)
    scores = defaultdict(list)
    for t in targets[:150]:
        true, instance = t["mask"] > 0, t["instance_mask"]
        area = np.stack([(instance == k).sum((1, 2)) for k in range(1, 5)], 1)
        largest = instance == (area.argmax(1) + 1)[:, None, None]
        sounding = np.broadcast_to(t["audio_segments"].any(1)[:, None, None], true.shape)
        rules = {"nothing": true & False, "everything": true | True, "visible": instance > 0, "largest": largest}
        rules |= {f"mean {level}": sounding & (mean > level) for level in (0.05, 0.1, 0.15)}
        for name, pred in rules.items():
            scores[name].append(iou(pred, true))
    score = {name: float(np.mean(values)) for name, values in scores.items()}
    constant = max(score["nothing"], score["everything"])
    assert 0.15 < constant < 0.35
    # an empty target gives nearly 1 to any small mask, so a rule without sound scores above the constant
    assert score["visible"] < 0.66
    assert score["largest"] < 0.66
    assert max(value for name, value in score.items() if name.startswith("mean")) < constant + 0.15


def test_answers_are_balanced_within_each_type(sampled_questions):
    types = Counter(q.type for _, q in sampled_questions)
    assert set(types) == set(MUSIC_AVQA_TYPES)
    assert len(MUSIC_AVQA_TYPES) == 9
    assert max(types.values()) - min(types.values()) <= 1
    for name in MUSIC_AVQA_TYPES:
        answers = Counter(q.answer for _, q in sampled_questions if q.type == name)
        assert max(answers.values()) - min(answers.values()) <= 1, (name, answers)
        assert set(answers) <= set(ANSWERS)


def test_questions_of_two_modalities_are_not_answered_with_one(sampled_questions):
    def form(q):
        return re.sub("|".join(CLASSES), "X", q.text)

    def accuracy(used):
        """Of the most frequent answer, given the form, the number of things of one modality and if one is named."""
        votes, right = defaultdict(Counter), defaultdict(list)
        for number, (scene, q) in enumerate(sampled_questions):
            things = [t for t in scene.things if used(t)]
            count = votes[form(q), len(things), sum(t.name in q.text for t in things)]
            if number < 1200:
                count[q.answer] += 1
            else:
                right[q.type].append([q.answer] == [answer for answer, _ in count.most_common(1)])
        return {name: float(np.mean(r)) for name, r in right.items()}

    constant = {name: 1 / len({q.answer for _, q in sampled_questions if q.type == name}) for name in MUSIC_AVQA_TYPES}
    visual, audio = accuracy(_visible), accuracy(_sounding)
    for name in MUSIC_AVQA_TYPES:
        if name != "Visual Counting":
            assert visual[name] < constant[name] + 0.15, (name, visual)
    assert visual["Visual Counting"] == 1
    for name in (
        "Audio-Visual Counting",
        "Audio-Visual Location",
        "Audio-Visual Comparative",
        "Audio-Visual Temporal",
        "Visual Location",
    ):
        assert audio[name] < constant[name] + 0.15, (name, audio)


def test_answers_follow_from_the_rendered_targets(sampled_questions):
    """Counted from boxes and segments, not from the record."""
    numbers = ["zero", "one", "two", "three", "four"]
    checked = Counter()
    for scene, q in sampled_questions[:500]:
        t = scene_targets(scene, 96, fields=["boxes", "audio_segments", "class_mask"])
        visible = [i for i in range(len(scene.things)) if not np.isnan(t["boxes"][:, i]).all()]
        lit = [k for k in range(12) if (t["class_mask"] == k + 1).any()]
        if q.type == "Audio Counting":
            assert q.answer == numbers[t["audio_segments"].any(0).sum()]
        elif q.type == "Visual Counting":
            assert q.answer == numbers[len(visible)]
        elif q.type == "Audio-Visual Counting":
            assert q.answer == numbers[len(lit)]
        elif q.type.endswith("Location"):
            name = q.text.split()[-1]
            kind = CLASSES.index(name) if name in CLASSES else lit[0]
            chosen = [
                i for i in visible if scene.things[i].kind == kind and (name in CLASSES or scene.things[i].sounding)
            ]
            box = np.nanmean(t["boxes"][:, chosen[0]], 0)
            assert q.answer == ("lower " if box[1] + box[3] > 1 else "upper ") + (
                "right" if box[0] + box[2] > 1 else "left"
            )
        elif q.type == "Audio-Visual Temporal":
            starts = {CLASSES[k]: int(t["audio_segments"][:, k].argmax()) for k in lit}
            assert q.answer == min(starts, key=starts.get)
        elif "longer" in q.text:
            a, b = (t["audio_segments"][:, CLASSES.index(n)].sum() for n in re.findall("|".join(CLASSES), q.text))
            assert q.answer == ("yes" if a > b else "no")
        else:
            continue
        checked[q.type] += 1
    assert len(checked) == 7
    assert min(checked.values()) > 15


def test_a_pair_of_one_class_is_told_apart_by_the_sound(scenes):
    """The sound's level per second goes with the brightness of the thing that sounds, not with that of its twin."""
    right, count = [], 0
    for scene in [*scenes, *(sample_scene(i) for i in range(300, 900))]:
        kinds = Counter(t.kind for t in scene.things if t.visible)
        twins = [i for i, t in enumerate(scene.things) if kinds[t.kind] > 1 and t.visible]
        loud = [i for i in twins if scene.things[i].sounding]
        if len(loud) != 1:
            continue
        count += 1
        alone = replace(scene, snr=60.0, things=tuple(t for i, t in enumerate(scene.things) if i in twins))
        state = track(scene)
        steps = state.visible[twins].all(0) & state.sounding[loud[0]]
        if steps.sum() < 4:
            continue
        level = render_sound(alone).reshape(10, RATE).std(1)[steps]
        frames, instance = render_frames(alone).max(1), scene_targets(alone, fields=["instance_mask"])["instance_mask"]
        glow = [
            [
                np.quantile(f[m == k], 0.9) if (m == k).any() else 0
                for f, m in zip(frames[steps], instance[steps], strict=True)
            ]
            for k in (1, 2)
        ]
        match = [np.corrcoef(level, g)[0, 1] if np.std(g) else 0 for g in glow]
        right.append(int(np.argmax(match)) == (alone.things[1].sounding != ()))
        assert scene.things[twins[0]].colour != scene.things[twins[1]].colour
    assert 0.08 < count / 900 < 0.25
    assert np.mean(right) > 0.9


# --- no shortcuts


def dependence(table):
    """Pearson's statistic, in standard deviations from what independent rows and columns give."""
    table = table[:, table.any(0)]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return (((table - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


def test_only_shape_and_timbre_tell_the_class_and_nothing_visible_tells_what_sounds():
    things = [(t, order) for i in range(2500) for order, t in enumerate(sample_scene(i, "val").things)]
    clues = {
        "colour": lambda t, o: t.colour,
        "size": lambda t, o: t.size,
        "pitch": lambda t, o: t.pitch,
        "rhythm": lambda t, o: t.rhythm,
        "order": lambda t, o: o,
        "column": lambda t, o: int(3 * t.start[0]),
        "row": lambda t, o: int(3 * t.start[1]),
        "moving": lambda t, o: int(t.velocity != (0, 0)),
        "loudness": lambda t, o: int(np.mean(t.loudness) > 0.675),
    }
    visible = [(t, o) for t, o in things if t.visible]
    for name, clue in clues.items():
        table, roles = np.zeros((12, 10)), np.zeros((2, 10))
        for t, o in visible:
            table[t.kind, clue(t, o)] += 1
            roles[int(bool(t.sounding)), clue(t, o)] += 1
        assert dependence(table) < 5, name
        assert dependence(roles) < 5, name


def test_the_mixture_is_as_described(scenes):
    things = [t for s in scenes for t in s.things]
    share = {k: v / len(things) for k, v in Counter((bool(t.visible), bool(t.sounding)) for t in things).items()}
    assert share[True, True] > 0.3
    assert share[True, False] > 0.3
    assert share[False, True] > 0.1
    states = [track(s) for s in scenes]
    assert 0.15 < np.mean([~(s.visible & s.sounding).any(0) for s in states]) < 0.32
    assert 1.1 < np.mean([s.sounding.sum(0) for s in states]) < 1.7
    assert {len(s.things) for s in scenes} == {1, 2, 3, 4}
    usual = range(SIZES.index("huge"))  # huge things are in close-ups alone
    assert {(t.colour, t.size) for t in things} == {(c, s) for c in range(len(COLOURS)) for s in usual}


def test_glyphs_differ_clearly_at_the_smallest_size():
    scene = sample_scene(0)
    shapes = []
    for kind in range(12):
        still = {
            "kind": kind,
            "size": 0,
            "visible": ((0.0, 10.0),),
            "start": (0.5, 0.5),
            "velocity": (0.0, 0.0),
            "colour": 9,
        }
        alone = only(scene.things[0], replace(scene, tints=((90.0,) * 3,) * 2), loudness=(1.0,) * 10, **still)
        shapes.append(render_frames(alone)[0, 0].astype(float))
    gaps = [(np.abs(a - b) > 40).sum() for i, a in enumerate(shapes) for b in shapes[:i]]
    areas = [(np.abs(a - shapes[0][0, 0]) > 20).sum() for a in shapes]
    assert min(gaps) > 0.25 * min(areas)


def test_timbres_are_told_apart_at_any_pitch():
    """The nearest of 600 seconds of sound has the class of another second."""
    scene = sample_scene(1)

    def second(i):
        kind, pitch, rhythm, phase = i % 12, i // 12 % 3, i // 36 % 2, (7 * i) % 20
        thing = {"kind": kind, "pitch": pitch, "rhythm": rhythm, "phase": phase, "sounding": ((0.0, 1.0),)}
        wave = render_sound(replace(only(scene.things[0], scene, **thing), snr=20.0, texture=i))[:RATE]
        power = np.abs(np.fft.rfft(wave.reshape(-1, 400) * np.hanning(400), 512)) ** 2
        bands = np.log(np.add.reduceat(power, np.unique(np.geomspace(4, 240, 40).astype(int)), 1) + 0.01)
        return np.concatenate([bands.mean(0), bands.std(0)])

    reference, new = (np.stack([second(i) for i in indices]) for indices in (range(600), range(600, 720)))
    nearest = np.linalg.norm(new[:, None] - reference[None], axis=2).argmin(1)
    assert np.mean(nearest % 12 == np.arange(600, 720) % 12) > 0.95


# --- words


def test_captions_use_a_hundred_words_and_no_unknown_one(sampled_questions):
    scenes = [*(sample_scene(i) for i in range(900)), *(sample_scene(i, close=True) for i in range(9))]
    words = Counter(w for scene in scenes for line in scene_captions(scene) for w in line.split())
    assert len(CAPTION_WORDS) >= 100
    assert set(words) == set(CAPTION_WORDS)
    assert {w for _, q in sampled_questions for w in q.text.split()} <= set(WORDS)
    assert all(re.fullmatch("[a-z]+", w) for w in WORDS)
    assert sorted(set(WORDS)) == WORDS
    assert len({verb for pair in VERBS.values() for verb in pair}) == 24


def test_captions_agree_with_the_targets(scenes):
    for scene in scenes[:100]:
        t = scene_targets(scene, fields=["audio_segments", "caption", "instance_mask", "mask"])
        for step, line in enumerate(t["caption"]):
            sounding = {CLASSES[k] for k in np.flatnonzero(t["audio_segments"][step])}
            verbs = {v: name for name, pair in VERBS.items() for v in pair}
            verbs_used = {verbs[w] for w in line.split() if w in verbs}
            assert verbs_used <= sounding
            assert bool(verbs_used) == bool(sounding)
            assert line.startswith("it is quiet") == (not sounding)
            if sounding and not t["mask"][step].any() and not t["instance_mask"][step].any():
                assert "out of view" in line
            assert 7 <= len(line.split()) <= 26


def test_a_caption_by_hand():
    scene = sample_scene(0)
    thing = replace(
        scene.things[0], kind=0, colour=0, size=2, pitch=0, rhythm=0, start=(0.25, 0.25), velocity=(0.0, 0.0),
        visible=((0.0, 10.0),), sounding=((3.0, 6.0),), loudness=(0.5,) * 10,
    )  # fmt: skip
    other = replace(thing, kind=1, colour=1, size=0, start=(0.8, 0.3), velocity=(0.02, 0.0), sounding=())
    off_screen = replace(thing, kind=5, visible=(), sounding=((5.0, 7.0),))
    lines = scene_captions(replace(scene, background=1, things=(thing, other, off_screen)))
    wall = "in front of a striped wall"
    assert lines[0] == f"it is quiet and a large red drum stays still at the top left beside one other {wall}"
    assert lines[3] == "a large red drum rolls at the top left to the left of something silent"
    assert lines[5] == "a large red drum rolls at the top left and an engine rumbles out of view"
    assert lines[6] == f"an engine rumbles somewhere out of view {wall}"
    both = scene_captions(replace(scene, things=(thing, replace(other, sounding=((3.0, 5.0),)))))
    assert both[4] == "a large red drum rolls at the top left while an orange bell rings"


# --- untrimmed


def test_untrimmed_scenes_are_dense_and_never_crowded():
    overlapping = 0
    for i in range(25):
        scene = sample_scene(i, untrimmed=True)
        assert 20 <= scene.duration <= 60
        for thing in scene.things:
            for spans in (thing.visible, thing.sounding):
                assert all(0 <= a < b <= scene.duration for a, b in spans)
                assert all(a == round(a * 10) / 10 and b == round(b * 10) / 10 for a, b in spans)
                assert all(b < c for (_, b), (c, _) in itertools.pairwise(spans))
        fine = track(scene, 0.1)
        assert fine.visible.sum(0).max() <= 4
        events = scene_targets(scene, fields=["events"])["events"]
        assert len(events) >= 3
        overlapping += any(overlap([tuple(a[:2])], [tuple(b[:2])]) for j, a in enumerate(events) for b in events[:j])
    assert overlapping >= 20


def test_an_untrimmed_item_has_its_own_length_and_no_question():
    dataset = Scenes("val", image_size=32, untrimmed=True)
    assert "answer" not in dataset.provides
    item = dataset[1]
    assert item.steps == item.duration == len(item.targets["caption"])
    assert item.waveform.shape == (int(item.duration * RATE),)
    assert item.targets["boxes"].shape[1] >= 4
    assert item.text is None


# --- preview


def test_contact_sheet_writes_a_picture(tmp_path):
    path = contact_sheet([sample_scene(0), sample_scene(0, untrimmed=True)], tmp_path / "sheet.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_questions_of_a_scene_are_those_that_the_search_finds(sampled_questions):
    assert all(q in scene_questions(scene) for scene, q in sampled_questions[:200])
