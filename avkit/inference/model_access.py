# SPDX-License-Identifier: Apache-2.0
"""What inference asks of a model, in one place."""

from collections.abc import Callable

from torch import Tensor, nn

from avkit.batch import Batch, Prediction
from avkit.systems.base import Senses, hear
from avkit.training.module import AVModel

#: Steps that are predicted at once by tasks whose answers can be joined; bounds memory on long videos.
WINDOW = 60


def encode(model: AVModel, batch: Batch) -> Senses:
    """What the encoders make of a batch; it serves all tasks."""
    senses: Senses = model.system.sense(batch)
    return senses


def encode_audio(model: AVModel, batch: Batch) -> Tensor:
    """Audio features (B, T, width).

    Raises:
        ValueError: If the model reads stored audio features.
    """
    return hear(model.system.audio, batch)


def image_encoder(model: AVModel, task: str) -> Callable[[Tensor], Tensor] | None:
    """The encoder of regions of a task's head, if it has one, else the visual encoder.

    It makes vectors (N, width) of pictures (N, 3, H, W). None if the model reads stored visual features.
    """
    encoder: nn.Module | None = model.system.visual
    if task in model.heads:
        encoder = getattr(model.heads[task], "region", None) or encoder
    if encoder is None:
        return None
    network = encoder
    return lambda pictures: network(pictures).frame


def predict(model: AVModel, batch: Batch, encoded: Senses) -> Prediction:
    """What the batch's task answers."""
    prediction: Prediction = model(batch, encoded)
    return prediction


def window(model: AVModel, task: str) -> int | None:
    """Longest clip in steps that a task predicts at once; None for any length."""
    if any(kind.needs_question for kind in model.tasks[task].answers):
        return None
    if model.tasks[task].untrimmed and model.decoder is None:
        return None
    return WINDOW


def start_evaluation(model: AVModel) -> None:
    """Forget what `notes` counted."""
    for task in model.tasks.values():
        task.begin()


def notes(model: AVModel, task: str) -> list[str]:
    """Sentences for the report about how a task was answered."""
    return model.tasks[task].notes()


def set_caption_change_threshold(model: AVModel, threshold: float) -> bool:
    """Repeat a caption while its source changes by less than `threshold`; returns whether the model can."""
    heads = [head for head in model.heads.values() if hasattr(head, "steady")]
    for head in heads:
        head.steady = threshold  # type: ignore[assignment]
    return bool(heads)


def reads_any_word(model: AVModel) -> bool:
    """Whether the text encoder was pretrained, so that questions may use words outside the vocabulary."""
    return bool(getattr(model.system.config, "text", "") != "small")
