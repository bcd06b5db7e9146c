# SPDX-License-Identifier: Apache-2.0
"""Heads and losses of the tasks about events and places: by hand, and at their limits."""

import math

import pytest
import torch

from avkit.batch import Item, Tokens, Vocabulary
from avkit.collate import collate
from avkit.heads.base import HeadInputs
from avkit.heads.heat import HeatHead, pairing_loss
from avkit.heads.pyramid import PyramidHead, level_targets, mean_over
from avkit.heads.segment import EventHead, ParsingHead
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.training.evaluator import Evaluator
from avkit.training.module import AVModel

WIDTH = 16
INPUTS = HeadInputs(WIDTH, Vocabulary(classes=["a", "b", "c"]))


def tokens(batch=2, steps=3, grid=(2, 2)):
    return Tokens(
        audio=torch.randn(batch, steps, WIDTH),
        frame=torch.randn(batch, steps, WIDTH),
        patches=torch.randn(batch, steps, grid[0] * grid[1], WIDTH),
        grid=grid,
        valid=torch.ones(batch, steps, dtype=torch.bool),
        names=torch.randn(3, WIDTH),
    )


def clip(events, steps=32):
    """A clip of stored features with these events."""
    torch.manual_seed(0)
    return Item(
        "a", float(steps), 1.0, visual=torch.randn(steps, 4, 8), audio=torch.randn(steps, 8),
        targets={"events": torch.tensor(events, dtype=torch.float32).reshape(-1, 3)},
    )  # fmt: skip


def davel(classes=2):
    torch.manual_seed(0)
    system = AVUnifiedConfig(width=16, visual_features=8, audio_features=8)
    return AVModel("davel", Vocabulary(classes=[str(k) for k in range(classes)]), system)


class TestPyramid:
    """Dense events."""

    def test_means_over_valid_steps(self):
        x = torch.arange(5.0)[None, None]
        valid = torch.tensor([[True, True, True, False, False]])
        assert mean_over(x, valid, 1)[0, 0].tolist() == [0, 1, 2, 0, 0]
        assert mean_over(x, valid, 2)[0, 0].tolist() == [0.5, 2, 0]
        assert mean_over(x, torch.ones_like(valid), 4)[0, 0].tolist() == [1.5, 4]

    def test_an_event_is_learnt_at_the_level_of_its_length(self):
        """The longer side of 3.5 steps is the first level's, of 14 the third's."""
        net = davel()
        given = collate([clip([[2, 7, 0], [8, 30, 1]])], "davel")
        levels = net.system(given)
        last = len(levels) - 1
        found = [level_targets(x, given, n == 0, n == last)[0].isfinite().all(-1) for n, x in enumerate(levels)]
        assert [level.stride for level in levels] == [1, 2, 4, 8, 16]
        assert found[0][:, 0].nonzero().flatten().tolist() == [3, 4, 5]  # within 4 steps of both ends
        assert not found[0][:, 1].any()
        assert not found[2][:, 0].any()
        assert found[2][:, 1].any()

    def test_reach_is_told_in_strides(self):
        net = davel()
        given = collate([clip([[8, 30, 1]])], "davel")
        levels = net.system(given)
        target = level_targets(levels[2], given, False, False)[0, :, 1]
        point = int(target.isfinite().all(-1).nonzero()[0])
        middle = (point + 0.5) * 4
        assert target[point].tolist() == [(middle - 8) / 4, (30 - middle) / 4]

    def test_more_events_than_a_level_has_points(self):
        """Of those that meet at a point the shortest is learnt; the rest does no harm."""
        net = davel().train()
        crowd = [[i * 0.01, 4 - i * 0.01, k] for i in range(60) for k in (0, 1)]
        given = collate([clip(crowd, 4)], "davel")
        out = net.system(given)
        target = level_targets(out[0], given, True, False)[0]
        assert target[2, 0].tolist() == pytest.approx([2.5 - 0.59, 3.41 - 2.5])
        losses = net.system.loss(net.system(given), given)
        losses["loss"].backward()
        assert torch.isfinite(losses["loss"])

    def test_a_class_that_is_never_seen(self):
        net = davel(classes=5)
        given = collate([clip([[2, 7, 0]]), clip([[8, 30, 1]])], "davel")
        given.id = ["first", "second"]
        losses = net.system.loss(net.system(given), given)
        losses["loss"].backward()
        board = Evaluator(net.tasks, quick=True)
        with torch.no_grad():
            board.update(net.eval()(given), given)
        assert 0 <= board.compute("davel")["Avg"] <= 1

    @pytest.mark.parametrize("steps", [1, 2, 3, 17])
    def test_clips_shorter_than_windows_and_levels(self, steps):
        net = davel().eval()
        with torch.no_grad():
            found = net(collate([clip([], steps)], "davel"))["event_list"][0]
        assert (found[:, 1] <= steps).all()
        assert (found[:, 0] < found[:, 1]).all()

    def test_no_point_looks_at_padding(self):
        head = PyramidHead(INPUTS).eval()
        given = tokens(steps=6)
        given.valid[:, 4:] = False
        with torch.no_grad():
            before = head(given, None)
            for name in ("audio", "frame", "patches"):
                getattr(given, name)[:, 4:] = 9.0
            after = head(given, None)
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one.logits[one.valid], other.logits[other.valid])


class TestPairing:
    """Localisation without labels."""

    def test_loss_by_hand(self):
        heard = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        seen = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.0]]])
        rows = -math.log(math.exp(1) / (math.exp(1) + 1)), -math.log(math.exp(0.5) / (math.exp(0.5) + 1))
        found = pairing_loss(heard, seen, torch.tensor([0, 1]), temperature=1.0)
        assert found.item() == pytest.approx(sum(rows) / 2)
        # with all patches the second half of each counts, too, and that is zero
        rows = -math.log(math.exp(0.5) / (math.exp(0.5) + 1)), -math.log(math.exp(0.25) / (math.exp(0.25) + 1))
        found = pairing_loss(heard, seen, torch.tensor([0, 1]), temperature=1.0, share=1.0)
        assert found.item() == pytest.approx(sum(rows) / 2)

    def test_steps_of_one_clip_do_not_oppose_each_other(self):
        torch.manual_seed(0)
        heard, seen = torch.randn(4, 3), torch.randn(4, 5, 3)
        alone = pairing_loss(heard[::2], seen[::2], torch.tensor([0, 1]))
        assert pairing_loss(heard[:2], seen[:2], torch.tensor([0, 0])).item() == 0
        assert alone.item() > 0

    @pytest.mark.slow
    def test_it_finds_where_without_being_told(self):
        """Each of four sounds goes with one of four patterns somewhere in the picture; only the pairing is known."""
        torch.manual_seed(0)
        head, sounds, looks = HeatHead(INPUTS), torch.randn(4, WIDTH) * 2, torch.randn(4, WIDTH) * 2
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)

        def draw(count):
            kind, place = torch.randint(4, (count,)), torch.randint(9, (count,))
            given = tokens(batch=count, steps=1, grid=(3, 3))
            given.names = None
            given.audio[:, 0] = sounds[kind] + 0.3 * torch.randn(count, WIDTH)
            given.patches[torch.arange(count), 0, place] = looks[kind]
            return given, place

        for _ in range(500):
            given, _ = draw(32)
            output = head(given, None)
            patches = output.patches[:, 0].flatten(1, 2)
            loss = pairing_loss(output.audio[:, 0], patches, torch.arange(32), share=0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        given, place = draw(200)
        heat = head(given, None).heat[:, 0].flatten(1)
        assert (heat.argmax(1) == place).float().mean() > 0.7  # by chance one in nine


class TestSegments:
    """Classes per step."""

    def test_probabilities_of_a_clip_are_those_of_its_valid_steps(self):
        torch.manual_seed(0)
        head, given = ParsingHead(INPUTS).eval(), tokens(steps=5)
        given.valid[:, 3:] = False
        with torch.no_grad():
            before = head(given, None)
            given.audio[:, 3:] = 7.0
            after = head(given, None)
        for name in ("audio", "visual", "clip"):
            value = getattr(before, name)
            assert torch.equal(value, getattr(after, name))
            assert ((value > 0) & (value < 1)).all()

    def test_an_event_has_to_be_heard_and_seen(self):
        """Its logit is the log-probability of both, so it cannot exceed either."""
        head, given = EventHead(INPUTS).eval(), tokens(steps=2)
        with torch.no_grad():
            logits = head(given, None)
            both = head.classes(given).logits
        assert (logits[..., 1:] <= torch.nn.functional.logsigmoid(both).amin(2)).all()
