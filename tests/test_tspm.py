# SPDX-License-Identifier: Apache-2.0
"""TSPM: which steps and pictures it selects, what its switches leave out, and that padding changes nothing."""

import pytest
import torch
import torch.nn.functional as F

from avkit.errors import DataError
from avkit.nn.query_attention import KeySteps
from avkit.systems.tspm.network import TSPM
from avkit.systems.tspm.system import TSPMConfig

SMALL = {"audio": 6, "visual": 8, "patches": 10, "text": 12, "answers": 5, "width": 16, "inner": 16, "topk": 3}


def tspm(**options):
    torch.manual_seed(0)
    return TSPM.build(**{**SMALL, "dropout": 0.0, **options})


def clips(count=2, steps=7, patches=4):
    torch.manual_seed(1)
    return torch.randn(count, steps, 6), torch.randn(count, steps, 8), torch.randn(count, steps, patches, 10)


def texts(count=2):
    """Questions and prompts."""
    torch.manual_seed(2)
    return torch.randn(count, 12), torch.randn(count, 12)


def padded_to(inputs, steps):
    return [F.pad(x, (*[0, 0] * (x.ndim - 2), 0, steps - x.shape[1]), value=9.0) for x in inputs]


def test_selected_steps_have_the_largest_weights_and_rise():
    key_steps = KeySteps(16)
    query, tokens = torch.randn(3, 16), torch.randn(3, 9, 16)
    weights, chosen = key_steps.eval()(query, tokens, 4)
    assert torch.equal(chosen, weights.topk(4).indices.sort().values)
    expected = key_steps.attention(query[:, None], tokens, tokens)[1][:, 0]
    torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("select", "steps"), [("first", [0, 1, 2]), ("index", None)])
def test_only_the_pictures_that_are_selected_matter(select, steps):
    network, inputs, text = tspm(patch_select=select).eval(), clips(), texts()
    output = network(*inputs, *text)
    steps = set(steps or output.chosen[0].tolist())
    assert set(output.shown[0].tolist()) == steps
    for step in range(7):
        other = inputs[2].clone()
        other[0, step] += 1
        same = torch.equal(network(*inputs[:2], other, *text).logits[0], output.logits[0])
        assert same == (step not in steps), step


def test_the_selection_is_trained_where_it_is_asked_for():
    for grad in ("none", "straight_through"):
        network = tspm(select_grad=grad)
        network(*clips(), *texts()).logits.square().sum().backward()
        gradient = network.prompt_in.weight.grad
        trained = gradient is not None and bool(gradient.abs().sum() > 0)
        assert trained == (grad == "straight_through")
        assert ("prompt_in." in network.untrained()) == (grad == "none")


def test_straight_through_changes_no_output():
    inputs, text = clips(), texts()
    one, other = (tspm(select_grad=grad).eval()(*inputs, *text).logits for grad in ("none", "straight_through"))
    assert torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, {"patch_select": "index"}, {"temporal": False}, {"spatial": False}])
def test_questions_share_clips_and_padding_changes_nothing(options):
    network, inputs, text = tspm(**options).eval(), clips(), texts(3)
    clip = torch.tensor([0, 0, 1])
    output = network(*inputs, *text, clip)
    for i, k in enumerate(clip.tolist()):
        alone = network(*(x[k : k + 1] for x in inputs), *(x[i : i + 1] for x in text))
        torch.testing.assert_close(output.logits[i : i + 1], alone.logits)
    valid = torch.arange(9)[None].expand(2, -1) < 7
    padded = network(*padded_to(inputs, 9), *text, clip, valid)
    torch.testing.assert_close(padded.logits, output.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("select", ["first", "index"])
def test_a_clip_shorter_than_the_selection_is_used_whole_where_allowed(select):
    """As many steps are selected as there are, alone and padded beside a longer clip."""
    network, text = tspm(patch_select=select, select_grad="straight_through").eval(), texts(2)
    inputs = clips()
    short = [x[:1, :2] for x in inputs]
    alone = network(*short, *(x[:1] for x in text), allow_fewer=True)
    assert alone.chosen.tolist() == [[0, 1]]
    both = [torch.cat([padded, x[1:]]) for padded, x in zip(padded_to(short, 7), inputs, strict=True)]
    valid = torch.arange(7)[None] < torch.tensor([[2], [7]])
    output = network(*both, *text, valid=valid, allow_fewer=True)
    torch.testing.assert_close(output.logits[:1], alone.logits, atol=1e-5, rtol=1e-4)
    assert output.chosen[0].tolist() == [0, 1, 1]
    whole = network(*(x[1:] for x in inputs), *(x[1:] for x in text))
    torch.testing.assert_close(output.logits[1:], whole.logits, atol=1e-5, rtol=1e-4)
    assert torch.equal(output.chosen[1:], whole.chosen)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"select_grad": "straight_through"},
        {"temporal": False},
        {"spatial": False},
        {"grounding": False},
        {"fusion": "concatenation"},
    ],
)
def test_what_never_trains_is_declared(options):
    network = tspm(**options)
    network(*clips(), *texts()).logits.sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(tuple(network.untrained())), name


def test_every_switch_leaves_out_what_it_says():
    network = tspm(temporal=False, spatial=False, cross_modal=False, grounding=False)
    network(*clips(), *texts()).logits.sum().backward()
    untrained = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is None}
    parts = {"cross_modal", "key_steps", "patch_attention", "spatial_attention", "question_attention"}
    assert untrained == {"prompt_in", "patch_in"} | parts
    assert {prefix.removesuffix(".") for prefix in network.untrained()} == untrained


def test_concatenated_answers_have_no_way_to_the_official_weights():
    assert set(tspm().to_official())
    with pytest.raises(DataError, match="no fusion 'concatenation'"):
        tspm(fusion="concatenation").to_official()


def test_too_few_steps_are_refused_with_what_to_pass():
    with pytest.raises(ValueError, match=r"3 steps are to be chosen, and a clip has 2. Set topk to 2"):
        tspm()(*clips(steps=2), *texts())
    with pytest.raises(ValueError, match="topk is 0"):
        tspm(topk=0)
    with pytest.raises(ValueError, match="Unknown patch_select 'frist'"):
        tspm(patch_select="frist")
    with pytest.raises(ValueError, match=r"Unknown system\.prompt 'declarativ'"):
        TSPMConfig(prompt="declarativ")
