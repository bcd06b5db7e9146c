# SPDX-License-Identifier: Apache-2.0
"""Words to indices and back, and files that are written whole or not at all."""

import errno
import stat

import pytest
import torch

from avkit.files import WriteError, atomic, write_file
from avkit.text.tokenizer import END, PAD, START, UNKNOWN, WordTokenizer, join_words, split_words, unique_words


def test_rows_begin_and_end_and_are_padded():
    words = WordTokenizer(["a", "bark", "dog"])
    rows = words.encode(["A dog", "a cat bark", ""])
    a, bark, dog = 4, 5, 6
    assert rows.tolist() == [
        [START, a, dog, END, PAD],
        [START, a, UNKNOWN, bark, END],
        [START, END, PAD, PAD, PAD],
    ]
    assert len(words) == 7
    assert words.encode([]).shape == (0, 2)


def test_long_texts_are_cut_and_still_end():
    assert WordTokenizer(list("abc")).encode(["a b c", "a"], max_tokens=2).tolist() == [
        [START, 4, 5, END],
        [START, 4, END, PAD],
    ]


def test_decoding_stops_at_the_first_end():
    words = WordTokenizer(["a", "dog", "."])
    assert words.decode(torch.tensor([[4, 5, 6, END, 4], [4, UNKNOWN, 5, 4, 5]])) == ["a dog.", "a dog a dog"]


@pytest.mark.parametrize("text", ["a dog's bark, twice!", "a well-known sound.", "été: \u4f60 3", ""])
def test_known_texts_survive(text):
    words = WordTokenizer(unique_words([text]))
    assert words.decode(words.encode([text])[:, 1:]) == [text]
    assert join_words(split_words(text)) == text


def test_words_are_counted_once_and_sorted():
    assert unique_words(["B a", "a, c"]) == [",", "a", "b", "c"]


def test_text_and_bytes_are_written_into_new_folders(tmp_path):
    path = write_file(tmp_path / "x" / "y" / "z.txt", "été")
    assert path.read_text(encoding="utf-8") == "été"
    assert write_file(path, b"\x00\x01").read_bytes() == b"\x00\x01"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = write_file(tmp_path / "a.json", "old")
    with atomic(path) as part:
        assert part.parent == tmp_path
        assert part.suffix == ".json"
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_block_that_fails_leaves_nothing(tmp_path):
    path = write_file(tmp_path / "a.json", "old")

    def fail():
        with atomic(path) as part:
            part.write_text("half")
            raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "The disk is full: .*a.txt was not written; its old content is unchanged. Free space"),
        (errno.EACCES, "Cannot write .*a.txt: Permission denied. Choose another folder with --out"),
    ],
)
def test_errors_of_the_system_say_what_to_do(tmp_path, monkeypatch, number, message):
    def fail(self, data):
        raise OSError(number, {errno.ENOSPC: "No space left", errno.EACCES: "Permission denied"}[number])

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(WriteError, match=message):
        write_file(tmp_path / "a.txt", "x")
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(WriteError, match=r"Cannot write .*a.b\.txt"):
        write_file(tmp_path / "a" / "b.txt", "x")
