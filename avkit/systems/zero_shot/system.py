# SPDX-License-Identifier: Apache-2.0
"""The system without training: a tagger names what is heard, open-vocabulary models find it, rules answer."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from avkit.answers import Answer
from avkit.batch import Batch, Item, Losses, Output, Prediction, Vocabulary
from avkit.encoders.base import VisualFeatures
from avkit.systems.base import Encoded, RunContext, System
from avkit.systems.zero_shot.config import ZeroShotConfig
from avkit.systems.zero_shot.detectors import Detector
from avkit.systems.zero_shot.language import LanguageModel
from avkit.systems.zero_shot.loading import MissingPart
from avkit.systems.zero_shot.observation import Observation, Track, hysteresis, without_general
from avkit.systems.zero_shot.parts import Parts
from avkit.systems.zero_shot.presence import Presence
from avkit.systems.zero_shot.sight import Sight
from avkit.systems.zero_shot.taggers import Tagger, smooth, to_steps
from avkit.systems.zero_shot.targets import Nearest, Target, events, find_target
from avkit.systems.zero_shot.values import MAKERS, REQUIRED_STAGES, STAGES_OF, Made, Sample, Shape
from avkit.systems.zero_shot.words import SentenceEncoder
from avkit.tasks.base import Task

#: Least answers of a dataset that have to name things for its questions to be about them alone.
_FEW = 3
#: Pictures that a vision-language model is shown.
_SHOWN = 4


class ZeroShot(System):
    """Answers all tasks without training; parts that are missing are named in `notes`, and the rest still answers.

    Args:
        config: Its options.
        context: The tasks, and the classes and answers of the data.

    Source:
        AT-GDINO-SAM of Bhosale et al., 2023: audio tags prompt GroundingDINO, whose boxes prompt SAM. The tracker, the
        rules for other tasks than segmentation, thresholds and smoothing are ours.
    """

    checks_samples: ClassVar[bool] = True

    config: ZeroShotConfig

    def __init__(self, config: ZeroShotConfig, context: RunContext) -> None:
        super().__init__(config, context)
        if any(width for widths in context.features.values() for width in widths):
            raise ValueError(
                "zero_shot reads pictures and sound, and the data have stored features. Leave data.features out."
            )
        self.vocabulary = context.vocabulary
        self.parts_by_stage = Parts(
            config.parts(), config.weights(), offline=config.offline, accepted=config.accept_licence
        )
        self.sight = Sight(config, self.parts_by_stage)
        self._targets: dict[str, list[Target]] = {}
        #: Questions that no rule fits, by task.
        self.guessed: dict[str, int] = {}

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Nothing yet, zeros (C, T, 1): which models see the pictures depends on what is heard."""
        zeros = torch.zeros(*batch.valid.shape, 1, device=batch.valid.device)
        return VisualFeatures(zeros, zeros[..., None], (1, 1))

    def encode_audio(self, batch: Batch) -> Tensor:
        """Features of the tagger for each step, (C, T, D).

        Raises:
            ValueError: If the batch has no waveforms.
            MissingPart: If the tagger is not here.
        """
        if batch.waveform is None:
            raise ValueError("zero_shot reads waveforms, and the batch has none.")
        device = batch.valid.device
        tagger = self.parts_by_stage.require("sound", Tagger, device)
        steps = batch.valid.shape[1]
        features = []
        with torch.inference_mode(), self.parts_by_stage.timed("sound", device):
            for waveform in batch.waveform:
                windows = smooth(tagger.encode(waveform), self.config.smoothing)
                features.append(to_steps(windows, steps, batch.hop))
        return torch.stack(features).clone()

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        """A `Sample` for each sample of a batch.

        Raises:
            ValueError: If the batch has no pictures.
        """
        if batch.frames is None:
            raise ValueError("zero_shot reads pictures, and the batch has none.")
        encoded = encoded or self.encode(batch)
        targets = self.targets(batch.task)
        kinds = self.tasks[batch.task].answers
        outlines = any("masks" in STAGES_OF.get(kind, ()) for kind in kinds)
        observations = []
        for row, valid in enumerate(batch.valid):
            steps = int(valid.sum())
            frames = batch.frames[row, :steps]
            features = encoded.audio[row, :steps]
            observations.append(self.observe(frames, features, targets, hop=batch.hop, outlines=outlines))
        clips = range(len(batch)) if batch.clip is None else batch.clip.tolist()
        samples = []
        for row, clip in enumerate(clips):
            question = batch.text[row] if batch.text is not None else ""
            ask = self._asker(batch.frames[clip][batch.valid[clip]])
            samples.append(Sample(observations[clip], question, self.vocabulary.of(batch.task).answers, ask))
        return samples

    def observe(
        self, frames: Tensor, features: Tensor, targets: Sequence[Target], *, hop: float, outlines: bool
    ) -> Observation:
        """What is heard, seen and found in a clip.

        Args:
            frames: uint8 (T, 3, H, W).
            features: Of the tagger, (T, D).
            targets: What is listened and looked for.
            hop: Seconds per step.
            outlines: Whether masks are wanted.
        """
        tagger = self.parts_by_stage.require("sound", Tagger, features.device)
        with torch.inference_mode():
            heard = tagger.score(features, targets)
        active = without_general(hysteresis(heard, self.config.heard, self.config.kept), targets)
        can_outline = outlines and self.parts_by_stage.can_run("masks")
        return Observation(
            targets,
            heard,
            active,
            see=partial(self._see, frames, targets),
            find=partial(self._find, frames, targets, outlines),
            hop=hop,
            max_names=self.config.max_names,
            can_outline=can_outline,
            only_heard=len(targets) == len(events()),
        )

    def predict(self, output: Output, batch: Batch) -> Prediction:
        """Values of all kinds of answers of the task for which the parts are here."""
        assert batch.frames is not None
        size = (batch.frames.shape[-2], batch.frames.shape[-1])
        shape = Shape(batch.valid.shape[1], size, self.config.heard, self.config.seen_threshold)
        values: dict[str, Any] = {}
        for kind in self.tasks[batch.task].answers:
            maker = MAKERS.get(kind)
            made: Made = None if maker is None else maker(output, shape)
            if made is not None:
                values |= made
        self.guessed[batch.task] = self.guessed.get(batch.task, 0) + sum(values.pop("guessed", []))
        return Prediction(batch.task, batch.id, values)

    def loss(self, output: Output, batch: Batch) -> Losses:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "zero_shot has nothing to train. Ask it with 'avkit predict zero_shot CLIP', or score it with 'avkit test "
            "zero_shot --dataset NAME --data.root FOLDER'."
        )

    def targets(self, task: str) -> list[Target]:
        """What is listened and looked for: the dataset's classes, things among its answers, or any event."""
        if task not in self._targets:
            self._targets[task] = self._find_targets(self.tasks[task], self.vocabulary.of(task))
        return self._targets[task]

    def _find_targets(self, task: Task, vocabulary: Vocabulary) -> list[Target]:
        if vocabulary.classes and set(vocabulary.classes) != set(events()):
            return [find_target(name, self._nearest()) for name in vocabulary.classes]
        if task.needs_question() and not vocabulary.classes:
            named = [find_target(answer) for answer in vocabulary.answers]
            things = [target for target in named if target.audioset]
            if len(things) >= _FEW:
                return things
        return list(events().values())

    def notes(self, task: str) -> list[str]:
        """Which parts were missing, and which names were not listened for."""
        sentences = []
        for kind in self.tasks[task].answers:
            for stage in STAGES_OF.get(kind, ()):
                if stage in self.parts_by_stage.missing:
                    sentences.append(self.parts_by_stage.missing[stage])
        unheard = [target.name for target in self._targets.get(task, []) if not target.audioset]
        if unheard:
            more = ", ..." if len(unheard) > 5 else ""
            sentences.append(f"AudioSet has no class like {', '.join(unheard[:5])}{more}: never heard.")
        if self.guessed.get(task):
            sentences.append("No rule fits the question, so its answer is a guess.")
        return list(dict.fromkeys(sentences))

    def on_evaluation_start(self) -> None:
        """Forget what was guessed."""
        self.guessed.clear()

    def check_sample(self, task: str, item: Item) -> None:
        """Refuse to score a task without the parts that its metrics need.

        Raises:
            MissingPart: If one is not here; says which.
        """
        for kind in self.tasks[task].answers:
            if self._is_scored(kind, task):
                reasons = [self.parts_by_stage.why_missing(stage) for stage in REQUIRED_STAGES.get(kind, ())]
                if any(reasons):
                    raise MissingPart(" ".join(filter(None, reasons)))

    def needs_maps(self, task: str) -> bool:
        """Whether a task reads feature maps: there are none."""
        return False

    def modules_of(self, task: str) -> list[nn.Module]:
        """The models that have been loaded."""
        return list(self.parts_by_stage.loaded.values())

    def parts(self) -> dict[str, nn.Module]:
        """The models that have been loaded, by stage."""
        return dict(self.parts_by_stage.loaded.items())

    def loaded_parts(self) -> dict[str, str]:
        """Where the weights of the models are from."""
        return {stage: str(path) for stage, path in self.parts_by_stage.sources.items()}

    def _see(self, frames: Tensor, targets: Sequence[Target], numbers: Sequence[int]) -> Tensor | None:
        """Probability that some targets are seen, (T, numbers); None where no part tells."""
        presence = self.parts_by_stage.get("seen", Presence, frames.device)
        if presence is None:
            return None
        with torch.inference_mode(), self.parts_by_stage.timed("seen", frames.device):
            return presence.score(self.sight.embed(frames, presence), [targets[number] for number in numbers])

    def _find(
        self, frames: Tensor, targets: Sequence[Target], outlines: bool, numbers: Sequence[int]
    ) -> list[Track] | None:
        """Tracks of some targets; None where no detector is here."""
        if self.parts_by_stage.get("boxes", Detector, frames.device) is None:
            return None
        nouns = [targets[number].object for number in numbers]
        return self.sight.find(frames, nouns, numbers, outlines=outlines)

    def _asker(self, frames: Tensor) -> "partial[str] | None":
        """Asks the vision-language model about a clip; None where it was not asked for or is missing."""
        if self.parts_by_stage.chosen["language"] is None:
            return None
        model = self.parts_by_stage.get("language", LanguageModel, frames.device)
        if model is None:
            return None
        places = torch.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).round().long()
        return partial(self._ask, model, frames[places.to(frames.device)])

    def _ask(self, model: LanguageModel, frames: Tensor, question: str) -> str:
        with self.parts_by_stage.timed("language", frames.device):
            return model.ask(frames, question)

    def _nearest(self) -> Nearest | None:
        """Matches names by meaning, where a sentence encoder is asked for and here."""
        if self.parts_by_stage.chosen["words"] is None:
            return None
        encoder = self.parts_by_stage.get("words", SentenceEncoder, torch.device("cpu"))
        return None if encoder is None else encoder.nearest

    def _is_scored(self, kind: type[Answer], task: str) -> bool:
        """Whether the metrics of a task read what a kind of answer reads."""
        return bool(kind.target_fields) and kind.target_fields[0] in self.tasks[task].targets
