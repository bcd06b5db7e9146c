# SPDX-License-Identifier: Apache-2.0
"""Features of sentences."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avkit import __version__
from avkit.encoders import build_text_encoder
from avkit.extraction.extractor import to_float32
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.weights_hash import weights_hash
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.text.tokenizer import unique_words

_BATCH_SIZE = 64


def extract_sentences(
    sentences: dict[str, str], stream: FeatureStream, out: Path, dataset: str, device: torch.device
) -> Path:
    """Encode sentences and write them into a store.

    Args:
        sentences: Sentences by their name in the store.
        stream: The text encoder.
        out: Folder of the store.
        dataset: Name of the dataset that the sentences are of.
        device: Where the encoder runs.

    Returns:
        The store; each sentence has one row, its pooled vector.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # words that trained weights lack get the same vectors in every run
        encoder = build_text_encoder(stream.encoder, stream.weights, unique_words(sentences.values()))
    encoder = encoder.eval().to(device)
    names = list(sentences)
    rows: list[tuple[str, NDArray[np.float32]]] = []
    with torch.inference_mode():
        for start in range(0, len(names), _BATCH_SIZE):
            batch = names[start : start + _BATCH_SIZE]
            pooled = to_float32(encoder([sentences[name] for name in batch]).pooled)
            for name, vector in zip(batch, pooled, strict=True):
                rows.append((name, vector[None]))
    facts = FeatureFacts(
        stream.encoder, dataset=dataset, weights=weights_hash(encoder.state_dict()), made_by=f"avkit {__version__}"
    )
    return write_store(out / f"{stream.name}.h5", rows, facts, stream.dtype)
