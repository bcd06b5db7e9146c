# SPDX-License-Identifier: Apache-2.0
"""The official tokeniser reads a stream, so captions are scored in the order of the data, references apart."""

import random
import shutil

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from avkit.metrics import CaptionScores, MaskFScore
from avkit.metrics.captions import score_captions
from avkit.metrics.ptb_tokenizer import ptb_tokens

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH")

#: Pieces of captions whose tokens depend on what stands beside them, on the next line too, and some that are plain.
PIECES = [
    *(
        "a.",
        "The",
        "the",
        "u.s.",
        "U.S.",
        "Man",
        "man",
        ":)",
        "1 1/2",
        "(555) 555-1234",
        "et al.",
        "No.",
        "no.",
        "p.m.",
    ),
    *("5", "...", "..", "--", "&", "<a href='x y'>", "can't", "'", '"', "!", "?!", ",", "|||", "é", "3.", "$5", "e.g."),
]


def captions(seed, count):
    """Predictions, and one to three references each."""
    pick = random.Random(seed)

    def caption():
        return " ".join(pick.choice(PIECES) for _ in range(pick.choice([0, 1, 2, 3, 6])))

    return [caption() for _ in range(count)], [[caption() for _ in range(pick.choice([1, 2, 3]))] for _ in range(count)]


def official(predictions, references):
    """Scores of pycocoevalcap as its users call it."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    true = tokenizer.tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(references)})
    given = tokenizer.tokenize({i: [{"caption": text}] for i, text in enumerate(predictions)})
    bleu, _ = Bleu(4).compute_score(true, given, verbose=0)
    scores = {f"BLEU-{n}": value for n, value in enumerate(bleu, 1)}
    return scores | {"ROUGE-L": Rouge().compute_score(true, given)[0], "CIDEr": Cider().compute_score(true, given)[0]}


def metric():
    return CaptionScores("ptb", meteor=False)


@needs_java
def test_what_a_line_becomes_depends_on_the_next():
    assert ptb_tokens(["he plays a.", "The dog"]) == ["he plays a", "the dog"]
    assert ptb_tokens(["he plays a.", "the dog"]) == ["he plays a.", "the dog"]
    assert ptb_tokens(["a man :)"]) == ["a man -rrb-"]
    assert ptb_tokens(["a man :)", "x"]) == ["a man :-rrb-", "x"]
    assert ptb_tokens(["1 1/2 cups"]) == ["1\u00a01/2 cups"]


@needs_java
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_the_official_ones_in_every_order_of_updates_and_merges(seed):
    predictions, references = captions(seed, 60)
    want = official(predictions, references)
    assert score_captions(predictions, references, tokenizer="ptb", meteor=False).values == pytest.approx(want)
    order = list(range(60))
    random.Random(seed).shuffle(order)
    shuffled = metric()
    for start in range(0, 60, 7):
        part = order[start : start + 7]
        shuffled.update([predictions[i] for i in part], [references[i] for i in part], places=part)
    assert shuffled.compute() == pytest.approx(want, abs=1e-12)
    first, second = metric(), metric()
    first.update(predictions[:25], references[:25])
    first.update(predictions[25:40], references[25:40])
    second.update(predictions[40:], references[40:])
    first.merge_state(second)
    assert first.compute() == pytest.approx(want, abs=1e-12)


def deal(rank, folder, want, with_places):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{with_places}", rank=rank, world_size=2)
    predictions, references = captions(3, 31)
    own = list(range(31))[rank::2] if not with_places else [range(20, 31), range(20)][rank]
    scores = metric()
    for i in own:
        scores.update([predictions[i]], [references[i]], places=[i] if with_places else None)
    assert scores.compute() == pytest.approx(want, abs=1e-12)
    dist.destroy_process_group()


@needs_java
@pytest.mark.parametrize("with_places", [False, True])
def test_two_processes_score_in_the_order_of_the_data(tmp_path, with_places):
    want = official(*captions(3, 31))
    mp.start_processes(deal, (str(tmp_path), want, with_places), nprocs=2, start_method="fork")


def test_places_are_given_in_all_updates_or_in_none():
    scores = CaptionScores("plain", meteor=False)
    scores.update(["a dog"], ["a dog"], places=[0])
    scores.update(["a cat"], ["a cat"])
    with pytest.raises(ValueError, match="Some captions were given with places and some without"):
        scores.compute()
    with pytest.raises(ValueError, match="2 places for 1 captions"):
        CaptionScores().update(["a"], ["a"], places=[0, 1])


def test_merged_metrics_keep_their_order():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 2, 5, 5, generator=generator)
    target = torch.rand(7, 2, 5, 5, generator=generator) > 0.6
    whole, first, second = MaskFScore(2), MaskFScore(2), MaskFScore(2)
    whole.update(logits, target)
    first.update(logits[:3], target[:3])
    second.update(logits[3:], target[3:])
    first.merge_state(second)
    assert first.compute() == whole.compute()
