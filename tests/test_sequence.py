# SPDX-License-Identifier: Apache-2.0
"""Answers as sequences: what is told can be read back, nothing else can be written, and it can be learnt."""

from dataclasses import replace

import pytest
import torch

from avkit.batch import Item, Prediction, Vocabulary
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.errors import RunError
from avkit.heads.codec import END, PAD, Codec, item_bounds, join_rows, split_rows
from avkit.heads.forms import FORMS
from avkit.heads.forms.base import Written
from avkit.heads.mask_code import MaskCode
from avkit.heads.token_scores import log_probabilities
from avkit.nn.event_labels import event_targets
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.tasks import find_task, split_names
from avkit.training.earlier_weights import check_not_earlier
from avkit.training.evaluator import Evaluator
from avkit.training.module import AVModel

SCENES = Scenes("val", size=40, image_size=64)
#: The same, quicker to learn from.
SMALL = Scenes("val", size=40, image_size=32)
VOCABULARY = SCENES.vocabulary
#: Form, the task whose clips it is tried on, and what the task does not read.
TOLD = [
    ("events", "ave"),
    ("parsing", "avvp"),
    ("dense", "davel"),
    ("boxes", "ssl"),
    ("masks", "avs"),
    ("caption", "ra_ssu"),
    ("answer", "avqa"),
]
LEARNT_APART = [task for task in split_names("all") if task not in ("ra_ssu", "davel")]


def batch(task, count=4, first=0):
    cls = find_task(task)
    items = [
        SCENES.item(i, frozenset((*cls.targets, *cls.optional)) & SCENES.provides) for i in range(first, first + count)
    ]
    if task == "ssl":  # its boxes come from the head that teaches
        items = [replace(x, targets=SCENES.item(i, frozenset({"boxes"})).targets) for i, x in enumerate(items)]
    items[0] = crop(items[0], 1, 6)  # padding, too
    return collate(items, task)


def sure(tokens):
    """As if a decoder had written these rows and had been sure."""
    return Written(tokens, torch.ones(tokens.shape), torch.zeros(len(tokens), 1))


def every_row(codec, form, given):
    """Rows of all clips or steps, those that are not annotated ended at once."""
    rows, kept = codec.encode(form, given.targets, given)
    out = torch.full((kept.numel(), rows.shape[1]), PAD)
    out[:, 0], out[:, 1] = codec.start(form), END
    out[kept.flatten()] = rows
    return out


def test_every_form_is_tried_here_and_every_task_has_one():
    assert [form for form, _ in TOLD] == list(FORMS)
    for task in split_names("all"):
        assert set(find_task(task).sequence_forms) <= set(FORMS)
        assert find_task(task).sequence_forms


def test_one_vocabulary_holds_all_kinds_side_by_side():
    codec = Codec(VOCABULARY)
    place = 0
    for first, count in codec.spans.values():
        assert first == place
        place += count
    assert len(codec) == place
    counts = {kind: count for kind, (_, count) in codec.form("events").alphabet.spans.items()}
    assert counts["answer"] == len(VOCABULARY.answers)
    assert counts["class"] == len(VOCABULARY.classes) + 1
    assert counts["code"] == len(codec.code)


def several(**classes):
    """A vocabulary of tasks that read different datasets."""
    own = {task: {"classes": names, "answers": ["yes"]} for task, names in classes.items()}
    return Vocabulary([], ["yes"], ["find"], own)


class TestSlices:
    """Each list of classes has tokens of its own."""

    def spans(self, **classes):
        codec = Codec(several(**classes))
        return {task: codec.form("events", task).alphabet.spans for task in classes}

    def test_datasets_do_not_share_tokens_of_classes_and_share_all_others(self):
        spans = self.spans(ave=["dog", "cat", "car"], davel=["cat", "bell"])
        first, count = spans["ave"]["class"]
        other, more = spans["davel"]["class"]
        assert (count, more) == (4, 3)
        assert first + count <= other or other + more <= first
        assert spans["ave"]["code"] == spans["davel"]["code"]
        assert spans["ave"]["answer"] == spans["davel"]["answer"]

    def test_one_list_has_one_slice_and_another_order_is_another_list(self):
        spans = self.spans(ave=["dog", "cat"], ave_weak=["dog", "cat"], davel=["cat", "dog"])
        assert spans["ave"]["class"] == spans["ave_weak"]["class"]
        assert spans["ave"]["class"] != spans["davel"]["class"]

    def test_what_one_task_writes_is_read_in_the_names_of_its_dataset(self):
        vocabulary = several(ave=["dog", "cat"], davel=["cat", "dog"])
        codec = Codec(vocabulary)
        row = torch.tensor([[codec.start("events"), codec.form("events", "davel").alphabet.spans["class"][0], END]])
        assert codec.read("events", row, "davel") == [[(0,)]]
        given = batch("ave", 1)
        given = replace(given, task="davel", valid=given.valid[:, :1])
        assert codec.decode("events", sure(row), given)["event"] == [["cat"]]

    def test_tasks_of_several_datasets_train_and_write(self):
        own = {"classes": [*VOCABULARY.classes[::-1], "bell"], "answers": []}
        same = {"classes": VOCABULARY.classes, "answers": VOCABULARY.answers}
        vocabulary = replace(VOCABULARY, classes=own["classes"], tasks={"ave": own, "davel": same})
        torch.manual_seed(0)
        net = AVModel("ave,davel", vocabulary, AVUnifiedConfig(width=32), interface="sequence")
        given = batch("ave", 2)
        for name in ("audio_segments", "visual_segments"):
            given.targets[name] = torch.nn.functional.pad(given.targets[name].flip(-1), (0, 1))
        net.system.loss(net.system(given), given)["loss"].backward()
        first, count = net.system.decoder.codec.form("events", "ave").alphabet.spans["class"]
        gradient = net.system.decoder.scores.output.weight.grad
        assert gradient[first : first + count - 1].any(1).all()
        other, more = net.system.decoder.codec.form("events", "davel").alphabet.spans["class"]
        assert not gradient[other : other + more].any()
        with torch.no_grad():
            assert {name for row in net.eval()(given)["event"] for name in row} <= {"", *own["classes"]}


class TestRoundTrip:
    """What is encoded comes back."""

    def test_events(self):
        given, codec = batch("ave", 12), Codec(VOCABULARY)
        found = codec.decode("events", sure(every_row(codec, "events", given)), given)
        true, keep = event_targets(given)
        assert torch.equal(found["event_logits"].argmax(-1)[keep], true[keep])
        step = keep[1].nonzero()[0, 0]
        assert found["event"][1][step] == ["", *VOCABULARY.classes][true[1, step]]

    def test_parsing(self):
        given, codec = batch("avvp", 12), Codec(VOCABULARY)
        found = codec.decode("parsing", sure(every_row(codec, "parsing", given)), given)
        for ours, true in (("audio_scores", "audio_segments"), ("visual_scores", "visual_segments")):
            assert torch.equal(found[ours].byte(), given.targets[true])
        assert torch.equal(found["clip_scores"][1:].byte(), given.targets["video_labels"][1:])

    @pytest.mark.parametrize("hop", [1.0, 0.32])
    def test_dense_events_to_the_part_of_a_step(self, hop):
        scenes = Scenes("val", size=8, image_size=24, hop=hop)
        items = [crop(scenes.item(i, frozenset({"events"})), 0, 64) for i in range(8)]
        given, codec = collate(items, "davel"), Codec(VOCABULARY)
        found = codec.decode("dense", sure(every_row(codec, "dense", given)), given)["event_list"]
        for rows, true in zip(found, given.targets["events"], strict=True):
            by_class = sorted(true.tolist(), key=lambda row: (row[2], row[0]))
            ours = sorted(rows[:, :3].tolist(), key=lambda row: (row[2], row[0]))
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(by_class), atol=hop / 20 + 1e-5, rtol=0)

    def test_dense_events_of_one_class_that_touch_stay_two_and_those_that_overlap_are_one(self):
        given, codec = batch("davel", 1), Codec(VOCABULARY)
        events = [[0.5, 3.0, 2], [3.0, 3.4, 2], [3.6, 3.8, 2], [3.8, 9.9, 2], [1.0, 4.0, 5], [2.0, 6.0, 5]]
        events = torch.tensor(events)
        valid = torch.ones(1, 10, dtype=torch.bool)
        given = replace(given, valid=valid, duration=torch.tensor([10.0]), targets={"events": [events]})
        found = codec.decode("dense", sure(every_row(codec, "dense", given)), given)["event_list"][0]
        rows = sorted(tuple(round(x, 3) for x in row) for row in found[:, :3].tolist())
        assert rows == [(0.5, 3.0, 2), (1.0, 6.0, 5), (3.0, 3.4, 2), (3.6, 3.8, 2), (3.8, 9.9, 2)]

    def test_dense_events_of_a_grid_of_224_steps(self):
        given, codec = batch("davel", 1), Codec(VOCABULARY)
        valid = torch.ones(1, 224, dtype=torch.bool)
        events = torch.tensor([[0.0, 224.0, 1], [100.2, 223.7, 3]])
        given = replace(given, valid=valid, duration=torch.tensor([224.0]), hop=1.0, targets={"events": [events]})
        found = codec.decode("dense", sure(every_row(codec, "dense", given)), given)["event_list"][0]
        torch.testing.assert_close(found[:, :3].sort(0).values, events.sort(0).values)

    def test_boxes_to_half_a_bin(self):
        given, codec = batch("ssl"), Codec(VOCABULARY)
        found = codec.decode("boxes", sure(every_row(codec, "boxes", given)), given)["boxes"]
        for rows, true in zip(found.flatten(0, 1), given.targets["boxes"].flatten(0, 1), strict=True):
            there = true[true.isfinite().all(-1) & (true.sum(-1) > 0)]  # padded steps hold zeros
            torch.testing.assert_close(rows[: len(there)], there, atol=0.5 / codec.bins + 1e-6, rtol=0)

    def test_heat_is_highest_in_the_box_and_falls_with_the_distance(self):
        codec, given = Codec(VOCABULARY), batch("ssl", 1)
        given = replace(given, valid=given.valid[:, :1], targets={"boxes": torch.tensor([[[[0.25, 0.5, 0.5, 1.0]]]])})
        heat = codec.decode("boxes", sure(every_row(codec, "boxes", given)), given)["heat"][0, 0]
        assert (heat[32:, 16:32] == 0).all()
        assert heat[:32].max() < 0
        assert (heat[40, 32:].diff() < 0).all()

    def test_captions(self):
        given, codec = batch("ra_ssu"), Codec(VOCABULARY)
        found = codec.decode("caption", sure(every_row(codec, "caption", given)), given)["caption"]
        assert [row[: len(true)] for row, true in zip(found, given.targets["caption"], strict=True)] == given.targets[
            "caption"
        ]

    def test_answers(self):
        given, codec = batch("avqa"), Codec(VOCABULARY)
        rows, _ = codec.encode("answer", given.targets, given)
        first = codec.form("answer").alphabet.spans["answer"][0]
        scores = torch.nn.functional.one_hot(rows[:, 1] - first, len(VOCABULARY.answers)).float()
        written = Written(rows, torch.ones(rows.shape), scores)
        assert codec.decode("answer", written, given)["answer"] == given.targets["answer"]

    def test_masks_of_classes_lose_what_the_code_loses(self):
        given, codec = batch("avs", 12), Codec(VOCABULARY)
        found = codec.decode("masks", sure(every_row(codec, "masks", given)), given)
        true, ours = given.targets["class_mask"].long(), found["class_mask"]
        some = (true > 0).flatten(2).any(2)
        same = ((true == ours) & (true > 0)).flatten(2).sum(2) / ((true > 0) | (ours > 0)).flatten(2).sum(2)
        assert same[some].mean() > 0.8
        assert torch.equal(ours.flatten(2).any(2), some)

    def test_masks_without_classes(self):
        given, codec = batch("avs"), Codec(VOCABULARY)
        del given.targets["class_mask"]
        found = codec.decode("masks", sure(every_row(codec, "masks", given)), given)
        true, ours = given.targets["mask"].bool(), found["mask"].bool()
        some = true.flatten(2).any(2)
        assert ((true & ours).flatten(2).sum(2) / (true | ours).flatten(2).sum(2))[some].mean() > 0.8
        assert not found["class_mask"].any()

    def test_what_is_not_annotated_has_no_row(self):
        codec, given = Codec(VOCABULARY), batch("ra_ssu")
        given.targets["mask_known"][:, 2:] = False
        given.targets["caption"][1][0] = ""
        rows, kept = codec.encode("masks", given.targets, given)
        assert len(rows) == kept.sum() == 8
        _, kept = codec.encode("caption", given.targets, given)
        assert not kept[1, 0]
        unknown = {"answer": ["never heard of", VOCABULARY.answers[0]]}
        two = batch("avqa", 2)
        rows, kept = codec.encode("answer", unknown, two)
        assert kept.tolist() == [False, True]
        assert len(rows) == 1


def next_bounds(codec, form, lead, turn):
    """What may come after `turn` tokens: smallest value, one more than the largest, whether the row may end, base."""
    item, slot = divmod(turn, form.in_order)
    low, high = item_bounds(form, lead, item, slot)
    return low, high, slot == 0 and item >= form.min_items, form.alphabet.spans[form.slots[slot]][0]


class TestGrammar:
    """Nothing can be written that cannot be read."""

    @pytest.mark.parametrize(("form", "task"), TOLD)
    def test_the_truth_is_allowed(self, form, task):
        codec, given = Codec(VOCABULARY), batch(task)
        shape = codec.form(form)
        lead, _ = split_rows(shape, codec.encode(form, given.targets, given)[0])
        for turn in range(lead.shape[1] - 1):
            low, high, may_end, first = next_bounds(codec, shape, lead, turn)
            token = lead[:, 1 + turn]
            value = token - first
            inside = (value >= low) & (value < high)
            assert (inside | (token == PAD) | ((token == END) & may_end)).all(), turn

    @pytest.mark.parametrize(("form", "task"), TOLD)
    def test_rows_are_split_and_joined_again(self, form, task):
        codec, given = Codec(VOCABULARY), batch(task)
        rows, _ = codec.encode(form, given.targets, given)
        shape = codec.form(form)
        lead, at_once = split_rows(shape, rows)
        assert lead.shape[1] == 1 + at_once.shape[1] * shape.in_order
        again = join_rows(shape, lead, at_once)
        assert torch.equal(again[:, : rows.shape[1]], rows)
        assert not again[:, rows.shape[1] :].any()

    @pytest.mark.parametrize(("form", "task"), TOLD)
    def test_whatever_is_drawn_can_be_read(self, form, task):
        """Tokens at random among the allowed, ends among them: rows end in time, say something, and say it again."""
        torch.manual_seed(1)
        codec, given = Codec(VOCABULARY), batch(task, 8)
        shape = codec.form(form)
        count = given.valid.numel() if shape.per_step else len(given)
        rows = torch.full((count, 1), codec.start(form))
        ended = torch.zeros(count, dtype=torch.bool)
        while not ended.all():
            low, high, may_end, first = next_bounds(codec, shape, rows, rows.shape[1] - 1)
            none = low >= high
            assert may_end or not none[~ended].any()
            drawn = first + low + ((high - low).clamp(min=1) * torch.rand(count)).long()
            stop = none | (torch.rand(count) < 0.1) if may_end else torch.zeros_like(none)
            token = torch.where(stop, END, drawn).masked_fill(ended, PAD)
            ended |= token == END
            rows = torch.cat([rows, token[:, None]], 1)
            assert rows.shape[1] <= codec.longest([form])
        lead = rows[:, 1 :: shape.in_order]
        at_once = torch.full((*lead.shape, shape.at_once), PAD)
        if shape.at_once:
            first, codes = codec.spans["code"]
            there = (lead != PAD) & (lead != END)
            at_once[there] = first + torch.randint(codes, (int(there.sum()), shape.at_once))
        whole = join_rows(shape, rows, at_once)
        written = Written(whole, torch.ones(whole.shape), torch.zeros(count, len(VOCABULARY.answers)))
        values = codec.decode(form, written, given)
        assert values
        net = find_task(task)(VOCABULARY)
        if task not in ("ra_ssu", "ssl"):  # ra_ssu needs two forms, and ssl's clips here carry boxes
            board = Evaluator({task: net}, quick=True)
            board.update(Prediction(task, given.id, values), given)
            assert all(0 <= value <= 1 for value in board.compute(task).values() if value == value)

    def test_rows_end_where_there_is_no_room(self):
        codec = Codec(VOCABULARY)
        form = codec.form("parsing")
        first, count = form.alphabet.spans["heard or seen"]
        row = torch.tensor([[codec.start("parsing"), first + count - 1]])
        low, high = item_bounds(form, row, 1, 0)
        assert low.item() == high.item() == count
        scores = torch.zeros(1, 1, 1 + count)
        log_p = log_probabilities(scores, low[:, None], high[:, None], torch.ones(1, 1, dtype=torch.bool), True)
        assert log_p[0, 0, 0] == 0
        assert log_p[0, 0, 1:].isinf().all()

    @pytest.mark.parametrize(
        ("row", "text"),
        [([3, 1], "no whole row"), ([2, 11, 24], "no whole row"), ([4, 11, 24, 1], "no whole row")],
    )
    def test_a_broken_row_is_refused(self, row, text):
        with pytest.raises(ValueError, match=text):
            Codec(VOCABULARY).read("dense" if row[0] == 4 else "events", torch.tensor([row]))

    def test_refusals(self):
        codec = Codec(VOCABULARY)
        with pytest.raises(ValueError, match=r"Unknown form of a sequence 'mask'.*masks"):
            codec.form("mask")
        with pytest.raises(ValueError, match="blocks=0"):
            MaskCode(blocks=0)


class TestMaskCode:
    """Masks as edges."""

    def test_exact_where_edges_are_straight(self):
        code, masks = MaskCode(), torch.zeros(4, 64, 64)
        masks[1] = 1
        masks[2, 8:40, 16:64] = 1
        masks[3, :, 20:] = 1
        assert torch.equal(code.decode(code.encode(masks), (64, 64)).float()[:3], masks[:3])
        assert code.encode(masks[:2]).unique().tolist() == [0, 1]
        assert code.encode(masks).shape == (4, code.length)

    def test_blocks_are_an_option_of_the_system(self):
        net = AVModel("avs", VOCABULARY, AVUnifiedConfig(width=32, mask_blocks=16), interface="sequence").eval()
        assert net.system.decoder.codec.code.length == 256
        given = batch("avs", 2)
        with torch.no_grad():
            assert net(given)["mask"].shape == given.targets["mask"].shape

    @pytest.mark.parametrize(("blocks", "least"), [(8, 0.86), (16, 0.93), (32, 0.99)])
    def test_overlap_of_the_round_trip_on_scenes(self, blocks, least):
        masks = torch.cat([SCENES.item(i, frozenset({"mask"})).targets["mask"] for i in range(20)]).bool()
        masks = masks[masks.flatten(1).any(1)]
        code = MaskCode(blocks)
        found = code.decode(code.encode(masks), (64, 64))
        overlap = (found & masks).flatten(1).sum(1) / (found | masks).flatten(1).sum(1)
        assert least < overlap.mean() < 1

    def test_masks_that_are_known_are_written_as_they_are(self):
        code, masks = MaskCode(), torch.zeros(2, 64, 64)
        masks[0, 10:40, 16:61] = 1
        codes = code.encode(masks[:1])
        chances = torch.nn.functional.one_hot(codes, len(code)).float()
        assert torch.equal(code.nearest_overlap(0.98 * chances + 0.02 / len(code)), codes)

    def test_an_object_is_drawn_where_it_probably_is_though_each_edge_is_unlikely(self):
        code = MaskCode()
        chances = torch.zeros(1, code.length, len(code))
        chances[..., 0] = 1
        chances[0, 5] = 0.7 / (len(code) - 1)
        chances[0, 5, 0] = 0.3
        assert chances[0, 5].argmax() == 0
        codes = code.nearest_overlap(chances)[0]
        assert codes[5] != 0
        assert (codes.nonzero() == 5).all()

    def test_any_size(self):
        code = MaskCode()
        for size in (48, 200):
            place = torch.linspace(-1, 1, size) ** 2
            mask = (place[:, None] + place < 0.4)[None]
            found = code.decode(code.encode(mask), mask.shape[-2:])  # type: ignore[arg-type]
            assert (found & mask).sum() / (found | mask).sum() > 0.93


def model(tasks, **kwargs):
    torch.manual_seed(0)
    return AVModel(tasks, VOCABULARY, AVUnifiedConfig(width=32), interface="sequence", **kwargs)


@pytest.mark.parametrize("task", ["ra_ssu", "davel", "avqa"])
def test_with_and_without_a_cache_the_same_is_written(task):
    net, given = model(task).eval(), batch(task, 2)
    with torch.no_grad():
        tokens = net.system.tokens(given)
        form = find_task(task).sequence_forms[-1]
        ours = net.system.decoder.write(tokens, form, task)
        plain = net.system.decoder.write(tokens, form, task, cache=False)
    assert torch.equal(ours.tokens, plain.tokens)
    torch.testing.assert_close(ours.chance, plain.chance, atol=1e-4, rtol=1e-3)


def test_tasks_that_labels_do_not_teach_keep_their_heads_and_others_lose_them():
    net = model("all")
    assert {task for task in net.tasks if net.system.head(task).teacher is not None} == {"avvp", "ssl"}
    assert set(net.system.decoder.forms) == set(FORMS)


def test_the_shared_decoder_is_saved_once():
    net = model("avs,avqa")
    assert any(key.startswith("system.decoder.") for key in net.state_dict())
    assert not any(".decoder." in key.removeprefix("system.decoder.") for key in net.state_dict())


@pytest.mark.parametrize("task", ["ave_weak", "avvp", "ssl"])
def test_a_weak_task_teaches_no_more_than_its_labels_allow(task):
    net = model(task).train()
    cls = find_task(task)
    given = collate([SCENES.item(i, frozenset(cls.targets)) for i in range(3)], task)
    teacher = net.system.head(task).teacher
    fields = teacher.pseudo_targets(teacher(net.system.tokens(given), given), given)
    if task == "ssl":
        left, top, right, bottom = fields["boxes"].unbind(-1)
        assert (left >= 0).all()
        assert (left < right).all()
        assert (top < bottom).all()
        assert (bottom <= 1).all()
        return
    labels = given.targets.get("video_labels")
    if labels is None:
        labels = (given.targets["audio_segments"] & given.targets["visual_segments"]).amax(1)
    for name in ("audio_segments", "visual_segments"):
        assert not (fields[name].bool() & ~labels.bool()[:, None]).any()


@pytest.mark.parametrize(
    "task", ["ra_ssu", "davel", *(pytest.param(task, marks=pytest.mark.slow) for task in LEARNT_APART)]
)
def test_a_clip_is_learnt(task):
    """Some steps on one clip, and its rows are written as they are."""
    net = model(task, lr=3e-3).train()
    cls = find_task(task)
    fields = frozenset((*cls.targets, *cls.optional)) & SCENES.provides
    item = crop(SMALL.item(3, fields), 0, 2 if cls.stepwise else 6)
    given = collate([item], task)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    start = last = None
    for _ in range(20):
        losses = net.system.loss(net.system(given), given)
        written = sum(loss for name, loss in losses.items() if name.startswith("next"))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        last = written.item()
        start = start or last
    assert last < 0.5 * start


def test_an_answer_is_written():
    net = model("avqa").train()
    fields = frozenset({"answer", "question_type"})
    given = collate([crop(SMALL.item(i, fields), 0, 2) for i in range(4)], "avqa")
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        net.system.loss(net.system(given), given)["loss"].backward()
        optimizer.step()
    with torch.no_grad():
        assert net.eval()(given)["answer"] == given.targets["answer"]


def test_a_question_is_read_in_the_light_of_its_clip_and_in_order():
    """What a row starts from depends on the sound, on the pictures and on the order of the words."""
    net, given = model("avqa").eval(), batch("avqa", 2)
    with torch.no_grad():
        tokens = net.system.tokens(given)
        form = net.system.decoder.codec.form("answer")
        opening = net.system.decoder.read(tokens, form).opening
        others = [
            replace(tokens, audio=tokens.audio.flip(0)),
            replace(tokens, patches=tokens.patches.flip(0)),
            replace(tokens, text=tokens.text.flip(1)),
        ]
        for other in others:
            assert not torch.allclose(net.system.decoder.read(other, form).opening, opening, atol=1e-4)


def test_patches_of_a_step_share_attention_by_their_fit_to_the_sound():
    net, given = model("ssl").eval(), batch("ssl", 2)
    with torch.no_grad():
        tokens = net.system.tokens(given)
        reader = net.system.decoder.read
        memory = reader(tokens, net.system.decoder.codec.form("boxes"))
        fit = (reader.norms["audio"](tokens.audio)[:, :, None] * reader.norms["patches"](tokens.patches)).sum(-1)
    shares = memory.bias.exp()
    torch.testing.assert_close(shares[:, :2], torch.ones_like(shares[:, :2]))
    torch.testing.assert_close(shares[:, 2:].sum(1), torch.ones(len(shares)))
    assert shares[:, 2:].argmax(1).tolist() == fit.flatten(0, 1).argmax(1).tolist()


def test_events_that_are_ranked_are_written_though_they_are_unlikely():
    """Every class above the least chance is written, each once; where none is, the row ends at once."""
    net, given = model("davel").eval(), batch("davel", 2)
    scores = net.system.decoder.scores
    form = net.system.decoder.codec.form("dense")
    first, count = form.alphabet.spans["class"]

    def written(chances):
        def constant(x, form, slot, memory):
            values = form.alphabet.spans[form.slots[slot]][1]
            row = torch.zeros(1 + values)
            row[-1] = 9.0  # events last to the end of the step
            if slot == 0:
                row[1:] = torch.logit(torch.tensor(chances + [0.0] * (values - len(chances))))
            return row.expand(*x.shape[:2], -1)

        scores.forward = constant
        with torch.no_grad():
            return net.system.decoder.write(net.system.tokens(given), "dense").tokens

    rows = written([0.2, 0.01, 0.9, 0.06])
    for row in rows:
        assert (row[1::3][:3] - first).tolist() == [0, 2, 3]
    assert written([0.04] * (count - 1)).shape[1] == 2  # the form and the end


def test_a_word_that_is_mentioned_is_likelier_at_every_place():
    net, given = model("ra_ssu").eval(), batch("ra_ssu", 2)
    decoder = net.system.decoder
    word = 20
    with torch.no_grad():
        tokens = net.system.tokens(given)
        before = decoder.slots(tokens, "caption", given.targets, given)[0].log_p[:, 1 + word]
        decoder.read.mentions.each.bias[word] += 8
        after = decoder.slots(tokens, "caption", given.targets, given)[0].log_p[:, 1 + word]
    assert (after > before).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"blocks=0; a mask code needs 1 or more"):
        AVModel("avs", VOCABULARY, AVUnifiedConfig(width=32, mask_blocks=0), interface="sequence")
    with pytest.raises(ValueError, match=r"Unknown task of a sequence 'avs'.*ave"):
        Codec(several(ave=["dog"])).form("masks", "avs")
    with pytest.raises(ValueError, match=r"Unknown interface 'sequences'.*sequence"):
        AVModel("avs", VOCABULARY, interface="sequences")


@pytest.mark.parametrize("task", ["ave", "davel", "avqa"])
def test_clips_of_any_length(task):
    net = model(task).eval()
    item = SMALL.item(0, frozenset())
    long = Item("long", 230.0, 1.0, item.frames[:1].repeat(230, 1, 1, 1), item.waveform.repeat(23), text="is it loud")
    with torch.no_grad():
        assert net(collate([long], task)).values


class TestSets:
    """Items that are a set, written in order."""

    def test_probabilities_are_those_of_the_members(self):
        scores = torch.randn(1, 1, 5)
        low, high = torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1), 4)
        log_p = log_probabilities(scores, low, high, torch.ones(1, 1, dtype=torch.bool), True)[0, 0]
        there = scores[0, 0, 1:].sigmoid()
        assert log_p.exp().sum().item() == pytest.approx(1)
        assert log_p[0].exp().item() == pytest.approx((1 - there).prod().item(), rel=1e-5)
        assert log_p[3].exp().item() == pytest.approx(((1 - there[0]) * (1 - there[1]) * there[2]).item(), rel=1e-5)

    def test_padding_changes_nothing(self):
        net, given = model("davel").eval(), batch("davel", 3, first=1)
        with torch.no_grad():
            together = net(given)["event_list"]
            for number in range(1, 3):
                item = SCENES.item(1 + number, frozenset({"events"}))
                alone = net(collate([item], "davel"))["event_list"][0]
                torch.testing.assert_close(alone, together[number], atol=1e-3, rtol=1e-3)


def test_a_dataset_without_answers_or_words_has_a_vocabulary_too():
    codec = Codec(Vocabulary(classes=["a", "b"]))
    spans = codec.form("events").alphabet.spans
    assert spans["answer"][1] == 0
    assert spans["class"][1] == 3


@pytest.mark.parametrize("tensor", ["system.decoder.embed.weight", "system.decoder.read.norms.text.weight"])
def test_weights_of_earlier_forms_are_refused_in_one_line(tensor):
    with pytest.raises(RunError, match=r"^last\.ckpt was trained with an earlier form .*Train the run again[^\n]*$"):
        check_not_earlier("last.ckpt", [tensor])
    check_not_earlier("last.ckpt", model("ave").state_dict())
