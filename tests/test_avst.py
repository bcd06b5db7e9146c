# SPDX-License-Identifier: Apache-2.0
"""AVST: its words, its pairs of pictures and sounds, and that padding and other clips change nothing."""

import pytest
import torch
import torch.nn.functional as F

from avkit.batch import FeatureWidths, Vocabulary
from avkit.errors import DataError
from avkit.systems.avst.negatives import sample_negatives
from avkit.systems.avst.network import AVST
from avkit.systems.avst.question_encoder import WORDS, split_question
from avkit.systems.avst.system import AVSTConfig
from avkit.systems.base import RunContext


def test_words_are_looked_up_as_written_then_in_any_case():
    encoder = AVST.build(audio=6, visual=8, width=8, answers=3).question
    assert len(WORDS) == 92
    ids = encoder.word_ids(["How many instruments are sounding in the video?", "which CELLO is louder"])
    assert ids.shape == (2, 14)
    assert ids[0, :7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ids[1].tolist()[4:] == [0] * 10
    assert [WORDS[i - 1] for i in ids[1, :4].tolist()] == ["Which", "cello", "is", "louder"]
    with pytest.raises(DataError, match=r"does not know the word 'celllo'.*Similar: cello"):
        encoder.word_ids(["Is the celllo louder?"])
    assert split_question("Is it\uff1f ") == ["Is", "it"]


def question_encoder(words):
    context = RunContext({}, Vocabulary(answers=["a"], words=words), {"avqa": FeatureWidths(8, 6)})
    return AVSTConfig().build(context).network.question


def test_words_are_the_data_s_where_they_have_others():
    own = question_encoder(["zebra"])
    assert own.index == {"zebra": 1}
    assert own.word_ids(["Zebra and lion"])[0, :3].tolist() == [1, 0, 0]
    assert question_encoder(["is", "guitar"]).index["How"] == 1


def test_width_is_that_of_the_pictures():
    with pytest.raises(ValueError, match="visual ones are 8 wide and width is 16"):
        AVST.build(visual=8, width=16)
    with pytest.raises(ValueError, match=r"system\.every is 0"):
        AVSTConfig(every=0)


def test_negatives_are_of_other_clips():
    visual = torch.arange(12.0).view(3, 4, 1)
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[2, 2:] = False
    for _ in range(20):
        other = sample_negatives(visual, valid, ["a", "b", "b"])
        assert bool((other[0] >= 4).all())
        assert bool((other[1:] < 4).all())
        assert not set(other.flatten().tolist()) & {10.0, 11.0}
    assert sample_negatives(visual, valid, ["a", "a", "a"]) is None


def test_padding_and_other_clips_change_nothing():
    torch.manual_seed(0)
    network = AVST.build(audio=6, visual=8, width=8, answers=3, dropout=0.0).eval()
    audio, visual, ids = torch.randn(2, 5, 6), torch.randn(2, 5, 4, 8), torch.randint(92, (3, 14))
    clip = torch.tensor([0, 1, 1])
    output = network(audio, visual, ids, clip=clip)
    alone = network(audio[1:], visual[1:], ids[2:])
    torch.testing.assert_close(output.logits[2:], alone.logits)
    valid = torch.arange(7)[None].expand(2, -1) < 5
    padded = F.pad(audio, (0, 0, 0, 2), value=3.0), F.pad(visual, (0, 0, 0, 0, 0, 2), value=3.0)
    logits = network(*padded, ids, clip=clip, valid=valid).logits
    torch.testing.assert_close(logits, output.logits, atol=1e-5, rtol=1e-4)
