# SPDX-License-Identifier: Apache-2.0
"""Heads and losses by themselves."""

import math

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Tokens
from avkit.heads.answer import AnswerHead
from avkit.heads.caption import CaptionHead
from avkit.heads.mask import MaskHead
from avkit.losses import balanced_cross_entropy, dice_loss, focal_loss, mask_loss
from avkit.words import END, PAD

WIDTH = 16


def tokens(batch=2, steps=3, grid=(4, 4), words=5, pyramid=((8, 16), (12, 8))):
    cells = grid[0] * grid[1]
    return Tokens(
        audio=torch.randn(batch, steps, WIDTH),
        frame=torch.randn(batch, steps, WIDTH),
        patches=torch.randn(batch, steps, cells, WIDTH),
        grid=grid,
        valid=torch.ones(batch, steps, dtype=torch.bool),
        pyramid=[torch.randn(batch, steps, c, side, side) for c, side in pyramid],
        text=torch.randn(batch, words, WIDTH),
        text_valid=torch.ones(batch, words, dtype=torch.bool),
        prompt=torch.randn(batch, WIDTH),
    )


@pytest.mark.parametrize("seed", range(4))
def test_cache_gives_the_same_words(seed):
    torch.manual_seed(seed)
    head = CaptionHead(WIDTH, words=9, most=12).eval()
    memory = torch.randn(6, 7, WIDTH) * 3
    found = head.generate(memory)
    assert torch.equal(found, head.generate(memory, cache=False))
    for row in found.tolist():
        if END in row:
            assert set(row[row.index(END) + 1 :]) <= {PAD}


def test_generated_words_are_the_likeliest_of_the_taught_form():
    torch.manual_seed(0)
    head = CaptionHead(WIDTH, words=9, most=8).eval()
    memory = torch.randn(3, 4, WIDTH) * 3
    found = head.generate(memory)
    given = torch.cat([torch.ones(3, 1, dtype=torch.long), found], 1)[:, :-1]
    best = head(memory, given).argmax(-1)
    ended = (found == END).cumsum(1) - (found == END).long() > 0
    assert torch.equal(best[~ended], found[~ended])


def test_a_word_depends_on_earlier_words_alone():
    torch.manual_seed(1)
    head = CaptionHead(WIDTH, words=9).eval()
    memory, words = torch.randn(2, 4, WIDTH), torch.randint(4, 9, (2, 6))
    changed = words.clone()
    changed[:, 4:] = 3
    torch.testing.assert_close(head(memory, words)[:, :4], head(memory, changed)[:, :4])


def test_captions_stop_at_the_limit():
    head = CaptionHead(WIDTH, words=9, most=12)
    with torch.no_grad():
        head.embed.weight[END] = -10 * torch.ones(WIDTH)
    assert head.generate(torch.randn(2, 4, WIDTH), most=5).shape[1] <= 5


@pytest.mark.parametrize(
    ("grid", "pyramid", "size"),
    [
        ((4, 4), ((8, 16), (12, 8)), 16),
        ((4, 4), ((8, 15), (12, 8)), 16),
        ((4, 4), (), 8),
        ((2, 2), ((8, 16), (12, 8), (16, 4)), 16),
    ],
)
def test_mask_head_has_the_finest_maps_size(grid, pyramid, size):
    head = MaskHead(WIDTH, [c for c, _ in pyramid], classes=4)
    assert head(tokens(grid=grid, pyramid=pyramid)).shape == (2, 3, 5, size, size)


def test_mask_is_the_odds_of_any_class_plus_its_own_map():
    torch.manual_seed(2)
    head = MaskHead(WIDTH, [8, 12], classes=4)
    with torch.no_grad():
        head.combine[2].weight[:4] = 0  # the mask's own map, before it is unfolded
        head.combine[2].bias[:4] = 0
        head.heard[1].weight[0] = 0
        head.heard[1].bias[0] = 0
    out = head(tokens())
    p = out[:, :, 1:].softmax(2)
    torch.testing.assert_close(out[:, :, 0].sigmoid(), 1 - p[:, :, 0], atol=1e-5, rtol=1e-5)


def test_answers_ignore_padding_of_words_and_of_time():
    torch.manual_seed(3)
    head, given = AnswerHead(WIDTH, 5), tokens(batch=1)
    alone = head(given)
    longer = tokens(batch=1, steps=6, words=9)
    for name in ("audio", "frame", "patches"):
        getattr(longer, name)[:, :3] = getattr(given, name)
    longer.valid[:, 3:] = False
    longer.text[:, :5], longer.prompt = given.text, given.prompt
    longer.text_valid[:, 5:] = False
    torch.testing.assert_close(head(longer), alone, atol=1e-5, rtol=1e-5)


def test_answers_depend_on_order_in_time():
    torch.manual_seed(4)
    head, given = AnswerHead(WIDTH, 5), tokens(batch=1)
    forth = head(given)
    given.audio, given.frame, given.patches = (x.flip(1) for x in (given.audio, given.frame, given.patches))
    assert not torch.allclose(head(given), forth, atol=1e-4)


def test_answers_need_a_question():
    given = tokens()
    given.text = None
    with pytest.raises(ValueError, match="needs a question"):
        AnswerHead(WIDTH, 5)(given)


def test_dice_by_hand():
    logits, target = torch.zeros(1, 1, 2), torch.tensor([[[1, 0]]])
    assert dice_loss(logits, target).item() == pytest.approx(1 - 2 * 0.5 / (0.5 + 1 + 0.002))


def test_mask_loss_without_maps_is_zero_with_a_gradient():
    logits = torch.randn(0, 4, 4, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(0, 4, 4))
    loss.backward()
    assert loss.item() == 0


def test_empty_targets_count_in_the_cross_entropy_alone():
    logits = torch.randn(2, 4, 4)
    target = torch.zeros(2, 4, 4, dtype=torch.uint8)
    expected = F.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(mask_loss(logits, target), expected)
    target[0, 0] = 1
    expected = F.binary_cross_entropy_with_logits(logits, target.float()) + dice_loss(logits[:1], target[:1])
    torch.testing.assert_close(mask_loss(logits, target), expected)


def test_focal_loss_without_focus_is_cross_entropy():
    logits, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, -100])
    torch.testing.assert_close(focal_loss(logits, target, gamma=0), F.cross_entropy(logits, target))
    by_hand = torch.tensor([[0.0, 0.0]])
    assert focal_loss(by_hand, torch.tensor([1])).item() == pytest.approx(0.25 * math.log(2))
    assert focal_loss(logits, torch.full((6,), -100)).item() == 0


def test_balanced_cross_entropy_by_hand():
    logits = torch.tensor([[[[2.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]]]])  # (1, 2, 1, 4)
    target = torch.tensor([[[0, 0, 0, 1]]])
    background = (math.log(1 + math.exp(-2)) + 2 * math.log(2)) / 3
    assert balanced_cross_entropy(logits, target).item() == pytest.approx((background + math.log(1 + math.exp(-1))) / 2)
    assert balanced_cross_entropy(logits, torch.zeros(1, 1, 4, dtype=torch.long)).isfinite()
