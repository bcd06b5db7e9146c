# SPDX-License-Identifier: Apache-2.0
"""Classes heard and seen in each step: the default heads of `ave`, `ave_weak` and `avvp`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Targets, Tokens, exportable
from avkit.heads.base import Head, HeadInputs, NoOptions
from avkit.nn.attentive_pooling import ParsingOutput, pool_streams
from avkit.nn.event_labels import both_modalities, event_targets
from avkit.nn.losses import mean_of
from avkit.nn.parsing import parsing_loss, parsing_values


@exportable
@dataclass
class StepClasses:
    """Class evidence per step and modality, audio first.

    Attributes:
        logits: (B, T, 2, K).
        features: Normalised tokens that they come from, (B, T, 2, D).
    """

    logits: Tensor
    features: Tensor


class ClassSteps(nn.Module):
    """Classes heard and seen in each step, by a linear layer and by match with the class names.

    The visual match is the best one of all patches.

    Args:
        width: Width D of the tokens.
        classes: Number of classes K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "frame", "patches")})
        self.audio = nn.Linear(width, classes)
        self.visual = nn.Linear(width, classes)
        for layer in (self.audio, self.visual):  # most classes are absent from most steps
            nn.init.constant_(layer.bias, -2.0)

    def forward(self, tokens: Tokens) -> StepClasses:
        """Logits and features of every step."""
        audio = self.norms["audio"](tokens.audio)
        frame = self.norms["frame"](tokens.frame)
        patches = self.norms["patches"](tokens.patches)
        audio_logits = self.audio(audio)
        visual_logits = self.visual(frame)
        if tokens.names is not None:
            names = tokens.names.T / tokens.names.shape[1] ** 0.5
            audio_logits = audio_logits + audio @ names
            visual_logits = visual_logits + (patches @ names).amax(2)
        return StepClasses(torch.stack([audio_logits, visual_logits], 2), torch.stack([audio, frame], 2))


def event_values(logits: Tensor, names: list[str]) -> dict[str, Tensor | list[list[str]]]:
    """`event_logits`, logits (B, T, K + 1) with background first, and `event`, B lists of T class names."""
    labels = ["", *names]
    best = logits.argmax(-1).tolist()
    return {"event_logits": logits.float(), "event": [[labels[number] for number in row] for row in best]}


class EventHead(Head):
    """One class that is both heard and seen, or background, per step; the default head of `ave`.

    Loss: cross-entropy per step; steps with several events do not count.

    Args:
        inputs: Width of the tokens and classes.
        options: None.
    """

    def __init__(self, inputs: HeadInputs, options: NoOptions = NoOptions()) -> None:  # noqa: B008, it is frozen
        super().__init__()
        self.names = list(inputs.vocabulary.classes)
        self.classes = ClassSteps(inputs.width, inputs.need_classes())
        self.background = nn.Linear(2 * inputs.width, 1)

    def forward(self, tokens: Tokens, batch: Batch) -> Tensor:
        """Logits (B, T, 1 + K), background first; a class's is the log-probability that it is heard and seen."""
        steps = self.classes(tokens)
        background = self.background(steps.features.flatten(2)) - 4
        return torch.cat([background, F.logsigmoid(steps.logits).sum(2)], -1)

    def loss(self, output: Tensor, batch: Batch) -> Losses:
        """`segments`."""
        target, counts = event_targets(batch)
        losses = F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
        segments = mean_of((losses * counts.flatten()).sum(), counts.sum())
        return {"loss": segments, "segments": segments}

    def predict(self, output: Tensor, batch: Batch) -> Prediction:
        """`event_logits` and `event`, see `event_values`."""
        return Prediction(batch.task, batch.id, event_values(output, self.names))

    def graph_values(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`event_logits`, background first."""
        return {"event_logits": output.float()}


class WeakEventHead(EventHead):
    """As `EventHead`, trained from the events of the clip alone; the default head of `ave_weak`.

    Loss: binary cross-entropy of each class's mean probability over the clip's steps (multiple-instance learning;
    AVEL's weak setting averages over steps too).
    """

    def loss(self, output: Tensor, batch: Batch) -> Losses:
        """`clip`."""
        present = both_modalities(batch).any(1).to(output.dtype)
        probabilities = output.softmax(-1)[..., 1:] * batch.valid[..., None]
        mean = probabilities.sum(1) / batch.valid.sum(1, keepdim=True)
        clip = F.binary_cross_entropy(mean.clamp(1e-6, 1 - 1e-6), present)
        return {"loss": clip, "clip": clip}

    def pseudo_targets(self, output: Tensor, batch: Batch) -> Targets:
        """The likeliest of background and the clip's events in each step."""
        possible = F.pad(both_modalities(batch).any(1, keepdim=True), (1, 0), value=True)
        best = output.detach().masked_fill(~possible, -torch.inf).argmax(-1)
        steps = F.one_hot(best, output.shape[-1])[..., 1:].to(torch.uint8)
        return {"audio_segments": steps, "visual_segments": steps}


class ParsingHead(Head):
    """Classes heard and classes seen in each step, from labels of the clip; the default head of `avvp`.

    Audio and visual tokens do not attend to each other before it: a label does not tell its modality, and audio tokens
    that contain what is seen would explain all labels by themselves.

    Args:
        inputs: Width of the tokens and classes.
        options: None.

    Source:
        HAN, attentive multi-modal multiple-instance pooling (YapengTian/AVVP-ECCV20 at commit fde56118f2c2).
    """

    cross_modal = False

    def __init__(self, inputs: HeadInputs, options: NoOptions = NoOptions()) -> None:  # noqa: B008, it is frozen
        super().__init__()
        classes = inputs.need_classes()
        self.classes = ClassSteps(inputs.width, classes)
        self.time = nn.Linear(inputs.width, classes)
        self.stream = nn.Linear(inputs.width, classes)

    def forward(self, tokens: Tokens, batch: Batch) -> ParsingOutput:
        """Probabilities per step, per modality and of the clip."""
        steps = self.classes(tokens)
        time = self.time(steps.features).masked_fill(~tokens.valid[:, :, None, None], -torch.inf)
        return pool_streams(steps.logits.sigmoid(), time, self.stream(steps.features))

    def loss(self, output: ParsingOutput, batch: Batch) -> Losses:
        """`both`, `audio` and `visual`, see `parsing_loss`."""
        return parsing_loss(output, batch.targets["video_labels"])

    def pseudo_targets(self, output: ParsingOutput, batch: Batch) -> Targets:
        """The clip's labels in the steps whose probability is at least one half."""
        labels = batch.targets["video_labels"].bool()[:, None, None]
        audio, visual = ((output.steps.detach() >= 0.5) & labels).unbind(2)
        return {"audio_segments": audio, "visual_segments": visual}

    def predict(self, output: ParsingOutput, batch: Batch) -> Prediction:
        """`audio_scores`, `visual_scores` and `clip_scores`, see `parsing_values`."""
        return Prediction(batch.task, batch.id, dict(parsing_values(output)))

    def graph_values(self, output: ParsingOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return parsing_values(output)
