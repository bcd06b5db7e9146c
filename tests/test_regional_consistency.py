# SPDX-License-Identifier: Apache-2.0
"""Regional consistency by frozen encoders: what text encoders read, and where its minimum lies."""

import pytest
import torch

from avkit.collate import crop
from avkit.datasets.scenes import Scenes
from avkit.encoders import build_text_encoder, build_visual_encoder
from avkit.nn.region_crop import cut_out
from avkit.systems.ssuformer.collaboration import PredictedCaptions, region_consistency
from avkit.text.tokenizer import pad_rows

TEXTS = ["a red drum rolls on the left", "", "a blue bell rings"]


def embedded(encoder, texts):
    """Embeddings of the words of texts, padded with noise, and their lengths."""
    rows = [text.split() for text in texts]
    lengths = torch.tensor([len(row) for row in rows])
    words = torch.randn(len(texts), 9, encoder.embed_words(["a"]).shape[1])
    for number, row in enumerate(rows):
        if row:
            words[number, : len(row)] = encoder.embed_words(row)
    return words, lengths


@pytest.mark.parametrize("name", ["small", "small_sentence", "clip_vit_b32"])
def test_sentences_of_embedded_words_are_encoded_as_their_letters(name):
    if name == "clip_vit_b32":
        pytest.importorskip("open_clip")
        pytest.importorskip("torchvision")
    torch.manual_seed(0)
    encoder = build_text_encoder(
        name, words=["a", "red", "blue", "bell", "drum", "rings", "rolls", "on", "the", "left"]
    )
    encoder.eval()
    with torch.no_grad():
        words, lengths = embedded(encoder, TEXTS)
        torch.testing.assert_close(
            encoder.encode_embeddings(words, lengths), encoder(TEXTS).pooled, atol=1e-5, rtol=1e-4
        )


@pytest.fixture(scope="module")
def scenes():
    """Steps of scenes in which something that is seen sounds: pictures, masks and captions."""
    data = Scenes("train", size=60, image_size=64, seed=5)
    items = [crop(data.item(number, {"mask", "caption"}), number % 10, 1) for number in range(60)]
    items = [item for item in items if item.targets["mask"].any()]
    pictures = torch.cat([item.frames for item in items])
    masks = torch.cat([item.targets["mask"].float() for item in items])
    return pictures, masks, [item.targets["caption"][0] for item in items]


@pytest.fixture(scope="module")
def encoders():
    """The frozen pair that comes with avkit."""
    words = Scenes("train", size=1).vocabulary.words
    image = build_visual_encoder("small_embedding", "scenes").eval().requires_grad_(False)
    sentence = build_text_encoder("small_sentence", "scenes", words=words).eval().requires_grad_(False)
    return image, sentence


def distances(encoders, pictures, masks, captions):
    image, sentence = encoders
    return region_consistency(image(cut_out(pictures, masks)).frame, sentence(captions).pooled)


def test_true_masks_and_captions_are_closer_than_empty_masks_and_those_of_others(scenes, encoders):
    pictures, masks, captions = scenes
    assert len(captions) > 30
    with torch.no_grad():
        true = distances(encoders, pictures, masks, captions)
        empty = distances(encoders, pictures, torch.zeros_like(masks), captions)
        whole = distances(encoders, pictures, torch.ones_like(masks), captions)
        other = distances(encoders, pictures, masks, captions[1:] + captions[:1])
    for wrong in (empty, whole, other):
        assert (true < wrong).float().mean() > 0.9
        assert wrong.mean() - true.mean() > 0.2


def test_an_empty_mask_is_no_minimum(scenes, encoders):
    """From masks that cover next to nothing, consistency alone uncovers what the caption is about."""
    pictures, masks, captions = (part[:24] for part in scenes)
    logits = torch.full((24, 16, 16), -3.0, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    seen = []
    for _ in range(40):
        loss = distances(encoders, pictures, logits.sigmoid(), captions).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0] - 0.2
    cover = torch.nn.functional.interpolate(logits.detach().sigmoid()[:, None], masks.shape[-2:], mode="bilinear")[:, 0]
    inside = (cover * masks).sum((1, 2)) / masks.sum((1, 2))
    outside = (cover * (1 - masks)).sum((1, 2)) / (1 - masks).sum((1, 2))
    assert (inside > outside).float().mean() > 0.8


def test_the_gradient_of_predicted_captions_is_towards_the_region(scenes, encoders):
    """Logits of words that say another region move, by consistency alone, towards what is under the mask."""
    pictures, masks, captions = (part[:24] for part in scenes)
    image, sentence = encoders
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sentence.tower.tokenizer.words[4:]]
    index = {piece: number for number, piece in enumerate(pieces)}
    predicted = PredictedCaptions(sentence, pieces)
    regions = image(cut_out(pictures, masks)).frame
    rows = [[index[word] for word in caption.split()] for caption in captions]
    lengths = torch.tensor([len(row) for row in rows])
    true = torch.nn.functional.one_hot(pad_rows(rows, 0), len(pieces)).float() * 8
    torch.testing.assert_close(predicted(true, lengths), sentence(list(captions)).pooled, atol=1e-4, rtol=1e-4)
    logits = true[torch.arange(24).roll(1)].clone().requires_grad_()
    lengths = lengths.roll(1)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    first = region_consistency(regions, predicted(logits, lengths)).mean()
    for _ in range(40):
        loss = region_consistency(regions, predicted(logits, lengths)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < float(first.detach()) - 0.1
    assert all(parameter.grad is None for parameter in sentence.parameters())
