# SPDX-License-Identifier: Apache-2.0
"""Slots of SSUFormer: pixels are dealt out, slots keep their source, and are matched as by trying all ways."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Batch
from avkit.systems.ssuformer.slots import SourceSlots, match_slots, slot_masks


def batch_of(masks, known=None):
    """A batch with true sources (B, T, K, H, W)."""
    known = torch.ones(masks.shape[:3], dtype=torch.bool) if known is None else known
    targets = {"source_mask": masks, "source_known": known, "mask_known": known.any(2), "mask": masks.any(2)}
    valid = torch.ones(masks.shape[:2], dtype=torch.bool)
    ids = [str(row) for row in range(len(masks))]
    return Batch("ra_ssu", ids, torch.ones(len(masks)), 1.0, valid, targets=targets)


def random_sources(sources=3, side=8, steps=2):
    generator = torch.Generator().manual_seed(0)
    owner = torch.randint(-1, sources, (4, steps, side, side), generator=generator)
    return (owner[:, :, None] == torch.arange(sources)[:, None, None]).to(torch.uint8)


@pytest.mark.parametrize(("slots", "sources"), [(2, 2), (3, 3), (3, 2), (2, 3), (4, 0), (1, 1)])
def test_the_matching_is_the_best_of_all(slots, sources):
    true = random_sources(sources)
    logits = torch.randn(4, 2, slots, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = match_slots(logits, batch_of(true))
    for row in range(4):
        area = true[row].sum((0, 2, 3)).tolist()
        largest = sorted(range(sources), key=lambda k: -area[k])[:slots]
        entropy = -logits[row].log_softmax(1)

        def cost(slot, source, row=row, entropy=entropy):
            weights = true[row, :, source].float()
            return float((entropy[:, slot] * weights).sum() / weights.sum())

        best = min(
            sum(cost(j, k) for j, k in zip(order, largest, strict=False)) for order in permutations(range(slots))
        )
        assert float(targets.cost[row].sum()) == pytest.approx(best if largest else 0.0, rel=1e-4)
        assert sorted(k for k in targets.source[row].tolist() if k >= 0) == sorted(largest)
        for slot, source in enumerate(targets.source[row].tolist()):
            expected = cost(slot, source) if source >= 0 else 0
            assert float(targets.cost[row, slot]) == pytest.approx(expected, rel=1e-4)
    assert torch.isfinite(targets.loss())


def test_steps_without_an_annotation_say_nothing():
    true = random_sources(2)
    known = torch.ones(true.shape[:3], dtype=torch.bool)
    known[:, 1] = False
    logits = torch.randn(4, 2, 2, 8, 8)
    other = logits.clone()
    other[:, 1] += 3 * torch.randn(4, 2, 8, 8)
    one, two = (match_slots(values, batch_of(true, known)) for values in (logits, other))
    assert torch.equal(one.source, two.source)
    torch.testing.assert_close(one.cost, two.cost)


def test_data_that_do_not_tell_sources_apart_are_refused():
    batch = batch_of(random_sources(2))
    del batch.targets["source_mask"]
    with pytest.raises(ValueError, match="The model is to keep sources apart, and the data do not"):
        match_slots(torch.zeros(4, 2, 2, 8, 8), batch)


def test_the_mask_is_the_union_of_slots():
    masks = torch.randn(2, 3, 1, 8, 8)
    slots = slot_masks(masks, torch.randn(2, 3, 3, 4, 4))
    assert slots.shape == (2, 3, 3, 8, 8)
    torch.testing.assert_close(slots.amax(2), masks[:, :, 0].sigmoid())
    alone = slot_masks(masks, torch.randn(2, 3, 1, 4, 4))
    torch.testing.assert_close(alone, masks.sigmoid())


def test_slots_learn_to_keep_their_source():
    torch.manual_seed(0)
    net = SourceSlots(8, 2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    codes = torch.randn(6, 8)

    def example():
        """Two moving squares of different kinds in four clips of three steps, with noise."""
        masks = torch.zeros(4, 3, 2, 12, 12)
        features = 0.3 * torch.randn(4, 3, 8, 12, 12)
        for row in range(4):
            for k, kind in enumerate(torch.randperm(6)[:2].tolist()):
                for step in range(3):
                    y, x = torch.randint(0, 9, (2,)).tolist()
                    masks[row, step, :, y : y + 3, x : x + 3] = 0
                    masks[row, step, k, y : y + 3, x : x + 3] = 1
                    features[row, step, :, y : y + 3, x : x + 3] = codes[kind][:, None, None]
        return features, masks

    for _ in range(150):
        features, masks = example()
        targets = match_slots(net(features, masks.amax(2)), batch_of(masks.to(torch.uint8)))
        optimizer.zero_grad()
        targets.loss().backward()
        optimizer.step()
    features, masks = example()
    targets = match_slots(net(features, masks.amax(2)), batch_of(masks.to(torch.uint8)))
    assert targets.loss().item() < 0.15, "log 2 is what guessing has"
    padded = F.pad(masks.amax(2), (0, 0, 0, 0, 0, 2))
    more = net(F.pad(features, (0, 0, 0, 0, 0, 0, 0, 2), value=7.0), padded)
    torch.testing.assert_close(more[:, :3], net(features, masks.amax(2)), msg="padding changes nothing")
