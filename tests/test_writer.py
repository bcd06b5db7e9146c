# SPDX-License-Identifier: Apache-2.0
"""Sentences: word pieces, the text decoder with and without its cache, beams against all sentences there are."""

from itertools import product

import pytest
import torch

from avkit.systems.ssuformer.text_decoder import TextDecoder
from avkit.text.tokenizer import END, PAD, START
from avkit.text.wordpiece import WordPieceTokenizer, make_wordpieces, read_wordpieces


def decoder(words=9, seed=0, **options):
    torch.manual_seed(seed)
    net = TextDecoder(words, width=16, layers=2, heads=2, start=START, end=END, pad=PAD, **options).eval()
    torch.nn.init.normal_(net.bias, std=2)  # so that sentences differ and end
    return net


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_cache_gives_the_same_words(seed, beams):
    net = decoder(seed=seed)
    memory = torch.randn(6, 5, 16) * 3
    rows = net.generate(memory, 20, beams)
    assert torch.equal(rows, net.generate(memory, 20, beams, cache=False))
    for row in rows.tolist():
        if END in row:
            assert set(row[row.index(END) + 1 :]) <= {PAD}


def test_the_output_layer_may_have_weights_of_its_own():
    tied, untied = decoder(), decoder(tied=False)
    states = torch.randn(2, 16)
    torch.testing.assert_close(tied.logits(states), states @ tied.embed.weight.T + tied.bias)
    torch.testing.assert_close(untied.logits(states), states @ untied.out.T + untied.bias)
    assert len(list(untied.parameters())) == len(list(tied.parameters())) + 1


def test_rows_do_not_depend_on_their_neighbours():
    net, memory = decoder(), torch.randn(4, 5, 16) * 3
    together = net.generate(memory, 12)
    for row, alone in zip(together, memory, strict=True):
        words = net.generate(alone[None], 12)[0]
        assert torch.equal(row[: len(words)], words)
        assert (row[len(words) :] == PAD).all()


def log_p(net, memory, sentence):
    rows = torch.tensor([[START, *sentence]])
    scores = net.logits(net(memory, rows)).log_softmax(-1)[0]
    return float(sum(scores[i, w] for i, w in enumerate(sentence)))


@pytest.mark.parametrize("seed", range(4))
def test_enough_beams_find_the_best_of_all_sentences(seed):
    net, memory, longest = decoder(words=5, seed=seed), torch.randn(1, 3, 16), 3
    sentence = net.generate(memory, longest, beams=5**longest)[0].tolist()
    sentences = [
        (*body, END)[:longest]
        for n in range(longest + 1)
        for body in product([w for w in range(5) if w != END], repeat=n)
    ]
    with torch.no_grad():
        best = max(set(sentences), key=lambda s: log_p(net, memory, s) / len(s))
    assert [w for i, w in enumerate(sentence) if END not in sentence[:i]] == list(best)


def test_more_beams_are_no_worse():
    net, memory = decoder(seed=5), torch.randn(1, 3, 16)
    with torch.no_grad():
        scores = []
        for beams in (1, 4, 16):
            row = net.generate(memory, 10, beams)[0].tolist()
            sentence = row[: row.index(END) + 1] if END in row else row
            scores.append(log_p(net, memory, sentence) / len(sentence))
    assert scores[2] >= scores[0] - 1e-6


def test_taught_words_see_nothing_of_what_comes_after():
    net, memory = decoder(), torch.randn(2, 3, 16)
    rows = torch.randint(4, 9, (2, 6))
    changed = rows.clone()
    changed[:, 4:] = 3
    torch.testing.assert_close(net(memory, rows)[:, :4], net(memory, changed)[:, :4])


@pytest.mark.parametrize("beams", [1, 3])
def test_a_topic_is_told_to_every_word(beams):
    net, memory = decoder(seed=3), torch.randn(4, 5, 16)
    topic = torch.randn(4, 16) * 4
    rows = net.generate(memory, 12, beams, topic=topic)
    assert torch.equal(rows, net.generate(memory, 12, beams, cache=False, topic=topic))
    rows = torch.randint(4, 9, (4, 3))
    assert (net(memory, rows, topic) - net(memory, rows)).abs().amax((0, 2)).min() > 0.1
    torch.testing.assert_close(net(memory, rows, 0 * topic), net(memory, rows))


def test_too_long_sentences_are_refused_and_never_written():
    net = decoder(positions=6)
    with pytest.raises(ValueError, match=r"7 word pieces .* 6 positions"):
        net(torch.randn(1, 3, 16), torch.ones(1, 7, dtype=torch.long))
    assert net.generate(torch.randn(2, 3, 16), max_pieces=40).shape[1] <= 6
    assert net.generate(torch.randn(0, 3, 16)).shape == (0, 0)
    with pytest.raises(ValueError, match="beams is 0"):
        net.generate(torch.randn(1, 3, 16), beams=0)


def test_pieces_spell_what_they_do_not_know():
    tokens = WordPieceTokenizer(make_wordpieces(["dog", "a", "barks", "twice", "don't"]))
    texts = ["A dog barks twice", "a god don't bark", "Ein Hund bellt"]
    rows = tokens.encode(texts)
    assert rows[0].tolist()[:5] == [tokens.start, *(tokens.pieces.index(w) for w in ("a", "dog", "barks", "twice"))]
    texts_again = tokens.decode(rows)
    assert texts_again[0] == "a dog barks twice"
    assert texts_again[1].replace(" ", "") == "agoddon'tbark"
    assert tokens.unknown in rows[2]  # letters that no word has
    assert tokens.count(texts)[0] == 4
    assert tokens.encode(texts, max_tokens=2).shape[1] == 4
    assert tokens.decode(tokens.encode([""])) == [""]


def test_pieces_do_not_depend_on_the_order_of_words():
    assert make_wordpieces(["b", "ab", "c"]) == make_wordpieces(["c", "b", "ab"])


def test_pieces_of_bert_are_read_as_they_are(tmp_path):
    transformers = pytest.importorskip("transformers")
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "bark", "##s", "##ing", ".", "un"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    tokens = WordPieceTokenizer(read_wordpieces(str(tmp_path)))
    official = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    for text in ("A dog barks.", "unbarking a cat", "DOG", ""):
        assert tokens.encode([text])[0].tolist() == official(text)["input_ids"]


def test_bad_pieces_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no \[CLS\], \[SEP\]"):
        WordPieceTokenizer(["[PAD]", "[UNK]"])
    with pytest.raises(ValueError, match="'a' occurs twice"):
        WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"])
    with pytest.raises(ValueError, match="do not exist"):
        read_wordpieces(str(tmp_path / "vocab.txt"))
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="UTF-8"):
        read_wordpieces(str(tmp_path / "vocab.txt"))
