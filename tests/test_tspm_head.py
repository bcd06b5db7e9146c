# SPDX-License-Identifier: Apache-2.0
"""TSPM as a head of the shared backbone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import Batch, Tokens, Vocabulary
from avkit.heads import create_head
from avkit.heads.base import HeadInputs

WIDTH = 16
ANSWERS = ["yes", "no", "two"]


def make_head(**options):
    torch.manual_seed(0)
    return create_head("avqa", "tspm", HeadInputs(WIDTH, Vocabulary(answers=ANSWERS)), **options)


def make_tokens(lengths=(5, 5, 5)):
    torch.manual_seed(1)
    batch, steps = len(lengths), max(lengths)
    return Tokens(
        audio=torch.randn(batch, steps, WIDTH),
        frame=torch.randn(batch, steps, WIDTH),
        patches=torch.randn(batch, steps, 4, WIDTH),
        grid=(2, 2),
        valid=torch.arange(steps)[None] < torch.tensor(lengths)[:, None],
        prompt=torch.randn(batch, WIDTH),
        second_prompt=torch.randn(batch, WIDTH),
    )


def make_batch(tokens):
    samples = len(tokens.audio)
    targets = {"answer": (ANSWERS * samples)[:samples], "question_type": ["x"] * samples}
    duration = tokens.valid.sum(1).float()
    return Batch("avqa", [str(i) for i in range(samples)], duration, 1.0, tokens.valid, targets=targets)


def part(tokens, row, steps):
    """One sample by itself, with its own steps alone."""
    names = ("audio", "frame", "patches", "valid")
    texts = {name: getattr(tokens, name)[row : row + 1] for name in ("prompt", "second_prompt")}
    return replace(tokens, **{name: getattr(tokens, name)[row : row + 1, :steps] for name in names}, **texts)


OPTIONS = [
    {},
    {"select_grad": "none", "patch_select": "first"},
    {"prompt": "question"},
    {"temporal": False},
    {"spatial": False},
    {"cross_modal": False, "grounding": False},
    {"fusion": "product"},
    {"selection": "key", "patch_attention": "sum", "fusion": "selected"},
    {"width": 8, "topk": 2, "dropout": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_trained_parameter_gets_a_gradient(options):
    head, tokens = make_head(**options).train(), make_tokens((5, 3, 2))
    batch = make_batch(tokens)
    losses = head.loss(head(tokens, batch), batch)
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("topk", [2, 4, 9])
@pytest.mark.parametrize("options", OPTIONS[:-1], ids=str)
def test_padding_changes_no_answer(options, topk):
    """Steps are selected among those that there are, all of them where they are fewer than `topk`."""
    head, lengths = make_head(**options, topk=topk).eval(), (5, 3, 1)
    tokens = make_tokens(lengths)
    batch = make_batch(tokens)
    with torch.inference_mode():
        together = head(tokens, batch)
        for row, steps in enumerate(lengths):
            alone = head(part(tokens, row, steps), batch)
            torch.testing.assert_close(together.logits[row : row + 1], alone.logits, atol=1e-5, rtol=1e-4)
            chosen = set(together.chosen[row].tolist())
            if head.network.options.temporal:
                assert chosen == set(alone.chosen[0].tolist())
                assert len(chosen) == min(topk, steps)
                assert max(chosen) < steps
        padding = {"audio": (0, 0, 0, 2), "frame": (0, 0, 0, 2), "patches": (0, 0, 0, 0, 0, 2)}
        padded = {name: F.pad(getattr(tokens, name), sizes, value=9.0) for name, sizes in padding.items()}
        longer = head(replace(tokens, **padded, valid=F.pad(tokens.valid, (0, 2))), batch)
    torch.testing.assert_close(longer.logits, together.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_prediction_tells_the_selection_and_reads_no_targets(steps):
    head, tokens = make_head(topk=3).eval(), make_tokens((steps, steps))
    batch = make_batch(tokens)
    batch.targets = {}
    with torch.inference_mode():
        prediction = head.predict(head(tokens, batch), batch)
    chosen = min(3, steps)
    assert set(prediction["answer"]) <= set(ANSWERS)
    assert prediction["answer_logits"].shape == (2, 3)
    assert prediction["chosen"].shape == prediction["shown"].shape == (2, chosen)
    assert prediction["parts"].shape == (2, chosen, 4)
    torch.testing.assert_close(prediction["parts"].sum(-1), torch.ones(2, chosen))
    torch.testing.assert_close(prediction["step_weights"].sum(-1), torch.ones(2))


def test_merged_tokens_that_the_backbone_averages_are_no_parts_of_a_picture():
    head, tokens = make_head(topk=3).eval(), replace(make_tokens(), grid=(1, 4))
    batch = make_batch(tokens)
    with torch.inference_mode():
        prediction = head.predict(head(tokens, batch), batch)
    assert "chosen" in prediction.values
    assert "parts" not in prediction.values


def test_questions_become_declarative_sentences():
    questions = ["Is there a dog?", "Is the cello louder than the flute?"]
    sentences = make_head().second_prompts(questions)
    assert sentences == ["There is a dog.", "The cello and the flute are not equally loud."]
    assert make_head(prompt="question").second_prompts(questions) is None


def test_missing_texts_are_named():
    head, tokens = make_head(), make_tokens()
    batch = make_batch(tokens)
    with pytest.raises(ValueError, match=r"needs a question: tokens\.prompt is None"):
        head(replace(tokens, prompt=None), batch)
    with pytest.raises(ValueError, match="needs the declarative sentences"):
        head(replace(tokens, second_prompt=None), batch)
    assert make_head(prompt="question")(replace(tokens, second_prompt=None), batch).logits.shape == (3, 3)
    with pytest.raises(ValueError, match="Unknown option of head TSPMHead 'meeting'"):
        make_head(meeting=True)
    with pytest.raises(ValueError, match="Question answering needs answers"):
        create_head("avqa", "tspm", HeadInputs(WIDTH, Vocabulary()))
