# SPDX-License-Identifier: Apache-2.0
"""The contract of a system: a paper's model, or the shared backbone with a head per task."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from avkit.batch import Batch, FeatureWidths, Item, Losses, Output, Prediction, Vocabulary
from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.nn.flat_output import flat_tensors
from avkit.nn.repetition import SentenceWriter
from avkit.systems.encoded import Encoded as Encoded
from avkit.systems.encoded import encode_frames as encode_frames
from avkit.systems.encoded import encode_waveform as encode_waveform
from avkit.systems.encoded import freeze_pretrained as freeze_pretrained
from avkit.systems.encoded import join_encoded as join_encoded
from avkit.systems.published import PublishedInputs
from avkit.tasks import build_tasks
from avkit.tasks.base import Task

SystemT = TypeVar("SystemT", bound="System")

#: A head by name, or its name with options: `{"name": "ccnet", "length": 64}`.
HeadChoice = str | Mapping[str, Any]


@dataclass(frozen=True)
class RunContext:
    """What a system is built for: the tasks of a run, and what its data hold.

    Attributes:
        tasks: Tasks by name.
        vocabulary: Classes and answers of the data, with the words of data and prompts.
        features: Widths of stored features by task; empty where all tasks read pictures and sound.
        expert_width: Width of the stored features of a vision-language model; 0 where there are none.
        prompts: Text for the text encoder by task, where a sample brings no question.
        heads: Head by task, for systems with pluggable heads; the task's default where not named.
        interface: `heads`, or `sequence` for one decoder that writes all answers as tokens.
    """

    tasks: Mapping[str, Task]
    vocabulary: Vocabulary
    features: Mapping[str, FeatureWidths] = field(default_factory=dict)
    expert_width: int = 0
    prompts: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, HeadChoice] = field(default_factory=dict)
    interface: str = "heads"

    @property
    def widths(self) -> FeatureWidths:
        """Widths of stored features of a system for one task."""
        return next(iter(self.features.values()), FeatureWidths())


@dataclass
class SystemConfig:
    """Options of a system, as a dataclass that the command line fills; a subclass defines `build`.

    It is no ABC, because the command line writes the options of pure dataclasses flat.

    Attributes:
        name: Name of the system; tells on the command line which system is meant.
    """

    #: Tasks that the system answers; empty for all.
    answered_tasks: ClassVar[tuple[str, ...]] = ()
    #: Whether training must not crop clips.
    whole_clips: ClassVar[bool] = False
    #: Whether `--model.heads` and `--model.interface` apply.
    pluggable_heads: ClassVar[bool] = False
    #: Stored features that it was published with, and the recipes that make them.
    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = ()

    name: str = ""

    def build(self, context: RunContext) -> "System":
        """The system for a run's tasks and data."""
        raise NotImplementedError(f"{type(self).__name__} does not define build.")

    def extend_vocabulary(self, vocabulary: Vocabulary) -> Vocabulary:
        """The data's vocabulary with what the system adds, such as word pieces."""
        return vocabulary

    def stored_features(self) -> FeatureWidths:
        """Widths of stored features where the data do not tell them."""
        return FeatureWidths()

    def notes(self) -> list[str]:
        """Sentences about the options, said when a training starts and in its report."""
        return []

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The tasks by name, each with the vocabulary of its dataset.

        Raises:
            ValueError: If the system does not answer one of them.
        """
        tasks = build_tasks(list(names), vocabulary)
        for name in names:
            if self.answered_tasks and name not in self.answered_tasks:
                raise ValueError(
                    f"{self.name} answers {', '.join(self.answered_tasks)}, not {name}. Leave it out, or use "
                    "--model.system.name av_unified."
                )
        return tasks


#: Steps that are predicted at once by tasks that answer each step by itself; bounds memory on long videos.
WINDOW = 60


class System(nn.Module, ABC):
    """A paper's model with its criterion, or the shared backbone with a head per task.

    Args:
        config: Its options.
        context: What it is built for.
    """

    #: Whether `check_sample` says anything, so that samples are read for it before a training.
    checks_samples: ClassVar[bool] = False

    def __init__(self, config: SystemConfig, context: RunContext) -> None:
        super().__init__()
        self.config: SystemConfig = config
        self.context = context
        self.tasks = dict(context.tasks)

    def encode(self, batch: Batch, visual: VisualFeatures | None = None) -> Encoded:
        """What the encoders make of pictures, unless their features are given as `visual`, and of sound."""
        if visual is None:
            visual = self.encode_visual(batch)
        return Encoded(visual, self.encode_audio(batch))

    @abstractmethod
    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Visual features with (C, T) in front."""

    @abstractmethod
    def encode_audio(self, batch: Batch) -> Tensor:
        """Audio features, (C, T, width)."""

    @abstractmethod
    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        """Raw outputs for the batch's task; `encoded` where the encoders have run before."""

    def read_texts(self, batch: Batch) -> Any:
        """Features of a batch's words, which `forward` then takes as `texts`; None where it takes none, the default.

        A compiled training step begins behind it.
        """
        return None

    @abstractmethod
    def loss(self, output: Output, batch: Batch) -> Losses:
        """Losses by name; `loss` is the one to minimise."""

    @abstractmethod
    def predict(self, output: Output, batch: Batch) -> Prediction:
        """The answer in the user's units. Reads no targets."""

    def graph_values(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """What an exported graph returns, by name: tensors of `predict`, else those of the raw output, the default."""
        return flat_tensors(output)

    def save_pretrained(self, folder: Path | str) -> Path:
        """Write the system with its weights to a folder, see `avkit.systems.pretrained.save_system`."""
        from avkit.systems.pretrained import save_system

        return save_system(self, folder)

    @classmethod
    def from_pretrained(cls: type[SystemT], source: Path | str, revision: str | None = None) -> SystemT:
        """A saved system from a folder or a repository, see `avkit.systems.pretrained.load_system`.

        Raises:
            TypeError: If it is a system of another class.
        """
        from avkit.systems.pretrained import load_system

        system = load_system(source, revision)
        if not isinstance(system, cls):
            raise TypeError(f"{source} holds a {type(system).__name__}, not a {cls.__name__}.")
        return system

    def on_epoch_start(self, epoch: int) -> None:
        """Called before each training epoch, counted from 0."""

    def on_step_start(self, step: int) -> None:
        """Called before each training step, with the number of optimizer steps done."""

    def on_evaluation_start(self) -> None:
        """Called before a test or prediction, to forget what `notes` counted."""

    def check_sample(self, task: str, item: Item) -> None:
        """Refuse a sample that cannot be answered as the options say; asked about the first of each split.

        Raises:
            ValueError: If it cannot, with what to do.
        """

    def check_steps(self, task: str, steps: int) -> None:
        """Refuse a clip of too few steps; asked in prediction before the clip's stored features are made.

        Raises:
            ValueError: If it has too few, with what to do.
        """

    def check_questions(self, task: str, questions: Mapping[str, str]) -> None:
        """Refuse questions of the data that cannot be asked as the options say, before a training or a test.

        Args:
            task: Name of the task.
            questions: All questions by their ids.

        Raises:
            DataError: If there are some; says how many and what to do.
        """

    def notes(self, task: str) -> list[str]:
        """Sentences for the report about how a task was answered."""
        return []

    def window(self, task: str) -> int | None:
        """Longest clip in steps that is predicted at once; longer ones are cut into windows. None for any length."""
        whole = self.tasks[task].untrimmed or self.tasks[task].needs_question()
        return None if whole else WINDOW

    def needs_maps(self, task: str) -> bool:
        """Whether a task reads the encoders' feature maps, `VisualFeatures.pyramid`."""
        return True

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Repeat a caption while its source changes by less than `threshold`; returns whether the system can."""
        return False

    def set_caption_repetition(self, *, allowed: bool) -> None:
        """Whether captions may repeat phrases, as they do in training and where official metrics score them."""
        for module in self.modules():
            if isinstance(module, SentenceWriter):
                module.repeats = allowed

    def region_encoder(self, task: str) -> VisualEncoder | None:
        """The encoder that retrieval embeds pictures and regions with; None where there is none."""
        return None

    @property
    def reads_any_word(self) -> bool:
        """Whether the text encoder was pretrained, so that questions may use words outside the vocabulary."""
        return True

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that all tasks train, for gradient surgery."""
        return self.parameters()

    def modules_of(self, task: str) -> list[nn.Module]:
        """Modules that answer a task, for counting parameters."""
        return [self]

    def loaded_parts(self) -> dict[str, str]:
        """Parts beside the encoders that weights were loaded into, and where these come from."""
        return {}

    def parts(self) -> dict[str, nn.Module]:
        """Parts whose size a report tells beside the whole, by name."""
        return {}

    def frozen_encoders(self) -> list[nn.Module]:
        """Encoders without trainable parameters; they stay in evaluation mode."""
        return [module for module in self.encoders() if not any(p.requires_grad for p in module.parameters())]

    def encoders(self) -> list[nn.Module]:
        """Encoders that may be frozen."""
        return []

    def train(self, mode: bool = True) -> "System":
        """Set training mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen_encoders():
            module.eval()
        return self
