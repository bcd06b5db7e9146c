# SPDX-License-Identifier: Apache-2.0
"""Heads and losses by themselves."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Tokens, Vocabulary
from avkit.heads.answer import AnswerHead
from avkit.heads.base import HeadInputs
from avkit.heads.caption import CaptionDecoder
from avkit.heads.mask import MaskDecoder
from avkit.heads.question import Grounding
from avkit.heads.region import RegionTokens
from avkit.nn.losses import balanced_cross_entropy, dice_loss, focal_loss, mask_loss, mentions_loss
from avkit.nn.pooling import shrink
from avkit.text.tokenizer import END, PAD

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
        names=torch.randn(3, WIDTH),
    )


def answer_head():
    """A head with five answers. It reads tokens alone, so that tests call it without a batch."""
    return AnswerHead(HeadInputs(WIDTH, Vocabulary(answers=list("abcde"))))


@pytest.mark.parametrize("seed", range(4))
def test_cache_gives_the_same_words(seed):
    torch.manual_seed(seed)
    head = CaptionDecoder(WIDTH, words=9, max_words=12).eval()
    memory = torch.randn(6, 7, WIDTH) * 3
    found = head.generate(memory)
    assert torch.equal(found, head.generate(memory, cache=False))
    for row in found.tolist():
        if END in row:
            assert set(row[row.index(END) + 1 :]) <= {PAD}


def test_generated_words_are_the_likeliest_of_the_taught_form():
    torch.manual_seed(0)
    head = CaptionDecoder(WIDTH, words=9, max_words=8).eval()
    memory = torch.randn(3, 4, WIDTH) * 3
    found = head.generate(memory)
    given = torch.cat([torch.ones(3, 1, dtype=torch.long), found], 1)[:, :-1]
    best = head(memory, given)[0].argmax(-1)
    ended = (found == END).cumsum(1) - (found == END).long() > 0
    assert torch.equal(best[~ended], found[~ended])


def test_a_word_depends_on_earlier_words_alone():
    torch.manual_seed(1)
    head = CaptionDecoder(WIDTH, words=9).eval()
    memory, words = torch.randn(2, 4, WIDTH), torch.randint(4, 9, (2, 6))
    changed = words.clone()
    changed[:, 4:] = 3
    torch.testing.assert_close(head(memory, words)[0][:, :4], head(memory, changed)[0][:, :4])


def test_a_region_that_is_absent_calls_for_nothing():
    torch.manual_seed(12)
    head, memory = CaptionDecoder(WIDTH, words=9).eval(), torch.randn(2, 6, WIDTH)
    words, present = torch.full((2, 3), 4), torch.tensor([[1.0, 0.0], [0.5, 1.0]])
    changed = memory.clone()
    changed[0, 3] = 9.0  # the second region of the first row, which is absent
    one, other = head(memory, words, present)[1], head(changed, words, present)[1]
    torch.testing.assert_close(one, other)
    more = head(memory, words, torch.ones(2, 2))[1]
    assert (more > one).all()  # each region that is there can only add


def repeating(word, max_words=12):
    """A head that says one word for ever."""
    head = CaptionDecoder(WIDTH, words=9, max_words=max_words).eval()
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
        head.out.bias[word] = 1e3
    return head


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(("max_words", "length"), [(None, 12), (5, 5), (1, 1), (99, 12)])
def test_captions_stop_at_the_limit(max_words, length, cache):
    found = repeating(7).generate(torch.randn(2, 4, WIDTH), max_words=max_words, cache=cache)
    assert found.tolist() == [[7] * length] * 2


def test_captions_stop_when_all_have_ended():
    assert repeating(END).generate(torch.randn(3, 4, WIDTH)).tolist() == [[END]] * 3
    assert repeating(END).generate(torch.randn(0, 4, WIDTH)).shape[0] == 0


def test_a_row_says_the_same_alone_and_among_others():
    torch.manual_seed(5)
    head, memory = CaptionDecoder(WIDTH, words=9, max_words=10).eval(), torch.randn(5, 4, WIDTH) * 3
    together = head.generate(memory)
    for row, alone in zip(together, memory, strict=True):
        words = head.generate(alone[None])[0]
        assert torch.equal(row[: len(words)], words)
        assert (row[len(words) :] == PAD).all()


def test_captions_read_sound_picture_region_and_patches_of_their_own_step():
    head, given = CaptionDecoder(WIDTH, words=9), tokens()
    region = torch.randn(2, 3, 1, WIDTH)
    memory = head.memory(given, region)
    assert memory.shape == (6, 3 + 16, WIDTH)
    torch.testing.assert_close(memory[4, 0], given.audio[1, 1] + head.kind[0])  # row 4 is clip 1, step 1
    torch.testing.assert_close(memory[4, 1], given.frame[1, 1] + head.kind[1])
    torch.testing.assert_close(memory[4, 2], region[1, 1, 0] + head.kind[2])
    torch.testing.assert_close(memory[4, 3:], given.patches[1, 1])
    assert head.memory(given).shape == (6, 2 + 16, WIDTH)


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
    head = MaskDecoder(WIDTH, [c for c, _ in pyramid], classes=4)
    out = head(tokens(grid=grid, pyramid=pyramid))
    assert out.maps.shape == (2, 3, 5, size, size)
    assert out.audio_logits.shape == (2, 3, 3)
    alone = MaskDecoder(WIDTH, [c for c, _ in pyramid])
    out = alone(tokens(grid=grid, pyramid=pyramid))
    assert out.maps.shape == (2, 3, 1, size, size)
    assert out.audio_logits is None


def test_mask_head_answers_each_step_by_itself():
    torch.manual_seed(6)
    head, given = MaskDecoder(WIDTH, [8, 12], classes=4).eval(), tokens()
    whole = head(given).maps
    part = replace(
        given,
        **{name: getattr(given, name)[:, 1:2] for name in ("audio", "frame", "patches", "valid")},
        pyramid=[x[:, 1:2] for x in given.pyramid],
    )
    torch.testing.assert_close(head(part).maps, whole[:, 1:2], atol=1e-5, rtol=1e-5)


def test_mask_begins_nearly_empty():
    torch.manual_seed(7)
    assert MaskDecoder(WIDTH, [8, 12], classes=4)(tokens()).maps[:, :, 0].sigmoid().mean() < 0.2


def test_mask_is_the_odds_of_any_class_plus_its_own_map():
    torch.manual_seed(2)
    head = MaskDecoder(WIDTH, [8, 12], classes=4)
    with torch.no_grad():
        head.combine[2].weight[:4] = 0  # the mask's own map, before it is unfolded
        head.combine[2].bias[:4] = 0
        head.audio_bias.weight[0] = 0
        head.audio_bias.bias[0] = 0
    out = head(tokens()).maps
    p = out[:, :, 1:].softmax(2)
    torch.testing.assert_close(out[:, :, 0].sigmoid(), 1 - p[:, :, 0], atol=1e-5, rtol=1e-5)


def test_answers_ignore_padding_of_words_and_of_time():
    torch.manual_seed(3)
    head, given = answer_head(), tokens(batch=1)
    alone = head(given, None)
    longer = tokens(batch=1, steps=6, words=9)
    for name in ("audio", "frame", "patches"):
        getattr(longer, name)[:, :3] = getattr(given, name)
    longer.valid[:, 3:] = False
    longer.text[:, :5], longer.prompt, longer.names = given.text, given.prompt, given.names
    longer.text_valid[:, 5:] = False
    torch.testing.assert_close(head(longer, None), alone, atol=1e-5, rtol=1e-5)


def test_answers_depend_on_the_order_of_words():
    torch.manual_seed(8)
    head, given = answer_head(), tokens(grid=(1, 3))
    forth = head(given, None)
    assert forth.shape == (2, 5)
    assert not torch.allclose(head(replace(given, text=given.text.flip(1)), None), forth, atol=1e-4)


def test_a_word_finds_the_token_it_means():
    torch.manual_seed(9)
    ground = Grounding(WIDTH, heads=2)
    with torch.no_grad():
        for layer in (ground.query, ground.key):
            layer.weight.zero_()
            layer.bias.zero_()
    tokens_ = torch.randn(1, 6, WIDTH) * 4
    where = torch.zeros(6, WIDTH)
    valid = torch.ones(1, 6, dtype=torch.bool)
    found = ground(tokens_[:, 2:3], tokens_, where, valid)
    among_others = ground(tokens_[:, 2:3], tokens_[:, 2:], where[2:], valid[:, 2:])
    only = ground(tokens_[:, 2:3], tokens_[:, 2:3], where[:1], valid[:, :1])
    assert (found - among_others).norm() < (found - ground(tokens_[:, 3:4], tokens_, where, valid)).norm()
    assert torch.isfinite(only).all()


def test_masks_by_name_need_names():
    with pytest.raises(ValueError, match=r"tokens\.names is None"):
        MaskDecoder(WIDTH, [8, 12], classes=4)(replace(tokens(), names=None))


def test_classes_follow_their_names():
    torch.manual_seed(10)
    head, given = MaskDecoder(WIDTH, [8, 12], classes=4).eval(), tokens()
    with torch.no_grad():
        head.combine[2].weight.zero_()
        head.combine[2].bias.zero_()
    order = torch.tensor([2, 0, 1])
    turned = head(replace(given, names=given.names[order]))
    torch.testing.assert_close(turned.maps[:, :, 2:], head(given).maps[:, :, 2:][:, :, order])
    torch.testing.assert_close(turned.audio_logits, head(given).audio_logits[:, :, order])


def test_regions_say_where_they_are_and_how_large():
    torch.manual_seed(11)
    given, head = tokens(), RegionTokens(WIDTH, [8, 12])
    regions = torch.zeros(2, 3, 4, 16, 16)
    regions[:, :, 1, :8, :8] = 1
    found, present = head(given, regions)
    assert found.shape == (2, 3, 4, WIDTH)
    torch.testing.assert_close(present[:, :, 1], torch.full((2, 3), 0.25 / 0.253))
    assert present[:, :, [0, 2, 3]].max() == 0
    assert found[:, :, [0, 2, 3]].abs().max() == 0  # nothing is there
    assert found[:, :, 1].abs().min(-1).values.max() > 0
    regions[:, :, 1] = regions[:, :, 1].flip(-1)
    assert not torch.allclose(head(given, regions)[0][:, :, 1], found[:, :, 1], atol=1e-3)


@pytest.mark.parametrize(("size", "shape"), [((4, 4), (4, 4)), ((3, 4), (3, 4)), ((16, 16), (8, 8))])
def test_shrink_averages_cells(size, shape):
    x = torch.randn(2, 3, 8, 8)
    out = shrink(x, size)
    assert out.shape[-2:] == shape
    torch.testing.assert_close(out, F.adaptive_avg_pool2d(x, shape))


def test_mentions_by_hand():
    words = torch.tensor([[1, 5, 2, PAD], [1, 5, 6, 2]])
    mentions = torch.full((2, 8), -50.0)
    for row, said in enumerate(([1, 2, 5], [1, 2, 5, 6])):
        mentions[row, said] = 50.0
    assert mentions_loss(mentions, words, PAD).item() == pytest.approx(0, abs=1e-6)
    mentions[0, 5] = -50.0
    assert mentions_loss(mentions, words, PAD).item() == pytest.approx(50 / 7)


def test_answers_depend_on_order_in_time():
    torch.manual_seed(4)
    head, given = answer_head(), tokens(batch=1)
    forth = head(given, None)
    given.audio, given.frame, given.patches = (x.flip(1) for x in (given.audio, given.frame, given.patches))
    assert not torch.allclose(head(given, None), forth, atol=1e-4)


@pytest.mark.parametrize("name", ["text", "text_valid"])
def test_answers_need_a_question(name):
    given = replace(tokens(), **{name: None})
    with pytest.raises(ValueError, match="needs a question"):
        answer_head()(given, None)


def test_dice_by_hand():
    logits, target = torch.zeros(1, 1, 2), torch.tensor([[[1, 0]]])
    first = 1 - 2 * 0.5 / (0.5 + 1 + 0.002)
    assert dice_loss(logits, target).item() == pytest.approx(first)
    two = torch.cat([logits, torch.full((1, 1, 2), -50.0)]), torch.cat([target, torch.ones_like(target)])
    assert dice_loss(*two).tolist() == pytest.approx([first, 1])  # the second finds nothing


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
    expected = F.binary_cross_entropy_with_logits(logits, target.float()) + dice_loss(logits[:1], target[:1])[0]
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
    rest = (math.log(1 + math.exp(-2)) + 2 * math.log(2) + math.log(1 + math.e)) / 4
    nothing, everything = torch.zeros(1, 1, 4, dtype=torch.long), torch.ones(1, 1, 4, dtype=torch.long)
    assert balanced_cross_entropy(logits, nothing).item() == pytest.approx(rest)
    assert balanced_cross_entropy(logits, everything).item() == pytest.approx(
        F.cross_entropy(logits, everything).item()
    )
    assert balanced_cross_entropy(logits[:0], nothing[:0]).item() == 0
