# SPDX-License-Identifier: Apache-2.0
"""Captions by their words: scores are the cosines of a dense matrix, and stored ones are those of their captions."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from avkit.errors import FileError
from avkit.inference.caption_index import index_captions, read_captions, stems_of, write_captions
from avkit.inference.index import VECTOR_KINDS, IndexedVideo, IndexFolder
from avkit.inference.search import Index, search
from avkit.reading.tensors import read_tensors, write_tensors

CAPTIONS = ["a dog barks", "a dog barks", "the cat, the cat", "", "a white dog and a bell!", "rain"]


def dense_scores(captions, text):
    """Cosine of weighted stems by a matrix of rows and stems."""
    counts = Counter(stem for caption in captions for stem in set(stems_of(caption)))
    query = Counter(stems_of(text))
    stems = sorted({*counts, *query})
    weights = np.array([math.log((len(captions) + 1) / (counts[stem] + 0.5)) for stem in stems])
    rows = np.array([[Counter(stems_of(caption))[stem] for stem in stems] for caption in captions]) * weights
    vector = np.array([query[stem] for stem in stems]) * weights
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
    return np.divide(rows @ vector, lengths, out=np.zeros(len(rows)), where=lengths > 0)


@pytest.mark.parametrize("text", ["a dog barking", "bells bells white", "zebra", "a zebra and a dog", "the rain"])
def test_scores_are_those_of_a_dense_matrix(text):
    scores = index_captions(CAPTIONS).scores(stems_of(text))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, dense_scores(CAPTIONS, text), atol=1e-6)


def test_no_captions():
    assert index_captions([]).scores(["dog"]).shape == (0,)
    assert index_captions(["", ""]).scores(["dog"]).tolist() == [0, 0]


def test_stored_captions_are_taken_where_they_are_of_the_same(tmp_path):
    path = tmp_path / "captions.safetensors"
    assert read_captions(path, CAPTIONS) is None
    write_captions(path, index_captions(CAPTIONS), CAPTIONS)
    stored = read_captions(path, CAPTIONS)
    assert stored.scores(stems_of("a dog")).tolist() == index_captions(CAPTIONS).scores(stems_of("a dog")).tolist()
    assert read_captions(path, [*CAPTIONS, "new"]) is None
    assert read_captions(path, CAPTIONS[::-1]) is None
    path.write_bytes(path.read_bytes()[:-3])
    assert read_captions(path, CAPTIONS) is None


def video(name, captions):
    count = len(captions)
    masks = (torch.arange(count * 25).reshape(count, 5, 5) % 3 == 0).to(torch.uint8)
    vectors = {kind: torch.randn(count, 4, generator=torch.manual_seed(count)) for kind in VECTOR_KINDS}
    return IndexedVideo(name, torch.arange(count).float(), torch.arange(count) + 1.0, captions, masks, vectors)


def test_a_folder_keeps_captions_and_masks(tmp_path, monkeypatch):
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": "r", "weights": "w", "avkit": "0"})
    folder.add(video("a.mp4", CAPTIONS[:3]))
    folder.add(video("b.mp4", CAPTIONS[3:]))
    videos = folder.read()
    for read, captions in zip(videos, (CAPTIONS[:3], CAPTIONS[3:]), strict=True):
        assert torch.equal(read.masks, video("", captions).masks)
    first = folder.caption_index(folder.stored())
    made = []
    monkeypatch.setattr("avkit.inference.index.index_captions", made.append)
    again = folder.caption_index(folder.stored())
    assert made == []
    assert again.scores(["dog"]).tolist() == first.scores(["dog"]).tolist()
    monkeypatch.undo()
    folder.add(video("c.mp4", ["a zebra"]))
    index = Index(folder.stored(), folder.caption_index(folder.stored()))
    assert index.best_hits(index.score_text("zebra"))[0].caption == "a zebra"


def test_a_search_for_words_reads_the_files_of_hits_alone(tmp_path, monkeypatch):
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": "r", "weights": "w", "avkit": "0"})
    for number, caption in enumerate(["a dog", "a cat", "a zebra", "a dog and a zebra"]):
        folder.add(video(f"{number}.mp4", [caption] * (number + 1)))
    text = "a zebra"
    whole = Index(folder.read())
    expected = search(whole, text, count=2)
    folder.caption_index(folder.stored())
    opened = []
    monkeypatch.setattr("avkit.inference.index.read_tensors", lambda path: opened.append(path) or read_tensors(path))
    index = Index(folder.stored(), folder.caption_index(folder.stored()))
    hits = search(index, text, count=2)
    assert [hit.video for hit in hits] == [hit.video for hit in expected]
    assert all(np.array_equal(hit.mask, other.mask) for hit, other in zip(hits, expected, strict=True))
    assert [hit.moment for hit in hits] == [hit.moment for hit in expected]
    assert sorted(opened) == sorted(folder.file_of(hit.video) for hit in hits)
    example = {"sound": torch.ones(1, 4)}
    assert [h.score for h in search(index, examples=[example])] == [h.score for h in search(whole, examples=[example])]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_damaged_file_is_named_where_it_is_indexed_or_hit(tmp_path, indexed):
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": "r", "weights": "w", "avkit": "0"})
    folder.add(video("a.mp4", ["a dog"]))
    if indexed:
        folder.caption_index(folder.stored())
    path = folder.file_of("a.mp4")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="has changed since"):
        search(Index(folder.stored(), folder.caption_index(folder.stored())), "dog")


def test_masks_of_an_earlier_version_are_read(tmp_path):
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": "r", "weights": "w", "avkit": "0"})
    old = video("a.mp4", CAPTIONS)
    path = folder.file_of("a.mp4")
    path.parent.mkdir()
    tensors = {"start": old.start, "end": old.end, "masks": old.masks, **old.vectors}
    write_tensors(path, tensors, {"video": "a.mp4", "captions": '["a", "b", "c", "d", "e", "f"]'})
    (read,) = folder.read()
    assert torch.equal(read.masks, old.masks)
