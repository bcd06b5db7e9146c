# SPDX-License-Identifier: Apache-2.0
"""TSPM's switches back to the paper: each does what its equation says."""

import pytest
import torch
from torch import nn

from avkit.errors import DataError
from avkit.systems.tspm.network import TSPM
from avkit.systems.tspm.system import TSPMConfig

SIZES = {"audio": 6, "visual": 8, "patches": 10, "text": 12, "answers": 5, "width": 16, "inner": 16, "topk": 3}
PAPER = {"selection": "key", "patch_attention": "sum", "fusion": "selected", "patch_select": "index"}


def tspm(**options):
    torch.manual_seed(0)
    return TSPM.build(**{**SIZES, "dropout": 0.0, **options})


def inputs(count=2, steps=7):
    torch.manual_seed(1)
    clips = torch.randn(count, steps, 6), torch.randn(count, steps, 8), torch.randn(count, steps, 4, 10)
    return *clips, torch.randn(count, 12), torch.randn(count, 12)


def test_equation_1_weighs_frames_by_one_projection():
    """W = softmax(F_TPrompt Key(F_v)^T / sqrt(d)), and the steps of the largest weights."""
    network = tspm(selection="key").eval()
    audio, visual, patches, question, prompt = inputs()
    output = network(audio, visual, patches, question, prompt)
    key = network.key_steps.key.weight
    for row in range(2):
        scores = torch.stack([prompt[row] @ (key @ frame) / 12**0.5 for frame in visual[row]])
        torch.testing.assert_close(output.weights[row], scores.softmax(0))
        assert output.chosen[row].tolist() == sorted(scores.topk(3).indices.tolist())


def test_equation_1_reads_the_question_where_there_is_no_prompt():
    network = tspm(selection="key").eval()
    audio, visual, patches, question, _ = inputs()
    one = network(audio, visual, patches, question)
    other = network(audio, visual, patches, question, question)
    assert torch.equal(one.weights, other.weights)


def test_equation_5_adds_what_tokens_and_sound_find():
    """Each token + Attn(token, tokens, tokens) + Attn(sound, tokens, tokens), without learned projections."""
    network = tspm(patch_attention="sum", patch_select="index").eval()
    audio, visual, patches, question, prompt = inputs()
    output = network(audio, visual, patches, question, prompt)

    def attend(query, tokens):
        weights = torch.stack([query @ token / 16**0.5 for token in tokens]).softmax(0)
        return sum(weight * token for weight, token in zip(weights, tokens, strict=True))

    for row in range(2):
        for place, step in enumerate(output.chosen[row].tolist()):
            tokens = network.patch_in(patches[row, step])
            sound = network.audio_in(audio[row, step])
            added = [token + attend(token, tokens) + attend(sound, tokens) for token in tokens]
            torch.testing.assert_close(output.spatial[row, place], torch.stack(added).mean(0))
            weights = torch.stack([sound @ token / 4 for token in tokens]).softmax(0)
            torch.testing.assert_close(output.parts[row, place], weights)


def test_equation_6_joins_sound_frames_and_pictures_of_the_selected_steps():
    """e = F_q * FC([F_a', F_v', F_v-bar]): nothing else of the clip, and no tanh."""
    network = tspm(fusion="selected", patch_select="index").eval()
    audio, visual, patches, question, prompt = inputs()
    output = network(audio, visual, patches, question, prompt)
    rows = torch.arange(2)[:, None]
    parts = [network.audio_in(audio)[rows, output.chosen], network.visual_in(visual)[rows, output.chosen]]
    joined = torch.cat([part.mean(1) for part in [*parts, output.spatial]], -1)
    expected = network.answer(network.question_in(question) * network.fusion(joined))
    torch.testing.assert_close(output.logits, expected)
    unselected = (set(range(7)) - set(output.chosen[0].tolist())).pop()
    other = audio.clone()
    other[0, unselected] += 1
    assert torch.equal(network(other, visual, patches, question, prompt).logits, output.logits)


@pytest.mark.parametrize("grad", ["none", "straight_through"])
@pytest.mark.parametrize("options", [{"selection": "key"}, {"patch_attention": "sum"}, {"fusion": "selected"}, PAPER])
def test_what_never_trains_is_declared(options, grad):
    network = tspm(**options, select_grad=grad)
    network(*inputs()).logits.sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith(tuple(network.untrained())), name


def test_padding_changes_nothing_in_the_papers_form():
    network = tspm(**PAPER).eval()
    *clips, question, prompt = inputs()
    output = network(*clips, question, prompt)
    padded = [nn.functional.pad(x, (*[0, 0] * (x.ndim - 2), 0, 2), value=9.0) for x in clips]
    valid = torch.arange(9)[None].expand(2, -1) < 7
    longer = network(*padded, question, prompt, valid=valid)
    torch.testing.assert_close(longer.logits, output.logits, atol=1e-5, rtol=1e-4)
    assert longer.weights[:, 7:].abs().max() == 0


@pytest.mark.parametrize(("name", "value"), [("selection", "key"), ("patch_attention", "sum"), ("fusion", "selected")])
def test_the_papers_form_has_no_way_to_the_official_weights(name, value):
    with pytest.raises(DataError, match=f"The authors' TSPM has no {name} '{value}'"):
        tspm(**{name: value}).to_official()
    with pytest.raises(ValueError, match=f"Unknown {name} '{value}s'"):
        TSPMConfig(**{name: f"{value}s"})
