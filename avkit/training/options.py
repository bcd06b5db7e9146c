# SPDX-License-Identifier: Apache-2.0
"""Groups of data options, each a record that the command line fills: `--data.batch_size.whole 8`."""

from dataclasses import asdict, dataclass

from avkit.training.task_spec import TaskSpec


@dataclass(frozen=True)
class BatchSizeOptions:
    """Clips per training step; several processes share them.

    Attributes:
        trimmed: For tasks that answer each step of trimmed clips on its own, and are trained on crops.
        whole: For tasks that need whole trimmed clips, each with all of its questions.
        untrimmed: For tasks on untrimmed clips, each cropped to `crop.untrimmed` steps.
    """

    trimmed: int = 16
    whole: int = 6
    untrimmed: int = 6

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            check_positive(f"data.batch_size.{name}", size)

    def name_for_training(self, spec: TaskSpec) -> str:
        """Name of the size that counts in training steps of a task."""
        if spec.untrimmed:
            return "untrimmed"
        return "trimmed" if spec.stepwise else "whole"

    def for_training(self, spec: TaskSpec) -> int:
        """Clips per training step of a task."""
        size: int = vars(self)[self.name_for_training(spec)]
        return size

    def for_evaluation(self, spec: TaskSpec) -> int:
        """Clips per validation or test step of a task; clips are not cropped then."""
        return self.untrimmed if spec.untrimmed else self.trimmed


@dataclass(frozen=True)
class CropOptions:
    """Longest training clips in steps; a random part of each longer clip is taken.

    Attributes:
        trimmed: For tasks that answer each step of trimmed clips on its own; 0 for whole clips.
        untrimmed: For tasks on untrimmed clips; 0 for whole clips.
        min_share: Crop untrimmed clips as UnAV does: the crop keeps an event, and a clip that is short enough is cut to
            a random share of at least this, such as 0.9. Plain random crops if not given.
    """

    trimmed: int = 2
    untrimmed: int = 16
    min_share: float | None = None

    def __post_init__(self) -> None:
        if self.min_share is not None and not 0 < self.min_share <= 1:
            raise ValueError(f"data.crop.min_share is {self.min_share}; it is a share above 0, at most 1.")

    def max_steps(self, spec: TaskSpec) -> int:
        """Longest training clip of a task in steps; 0 for no limit."""
        if spec.untrimmed:
            return self.untrimmed
        return self.trimmed if spec.stepwise else 0


#: Every clip as it is, as in evaluation.
NO_CROP = CropOptions(trimmed=0, untrimmed=0)


@dataclass(frozen=True)
class FeatureOptions:
    """Stored features to read.

    Attributes:
        visual: Instead of pictures: a name among the features that the dataset's authors publish, a store, or a folder
            of .npy files; for one dataset, or for several such as llp=res152,unav100=rgb+flow.
        audio: Instead of sound, likewise.
        expert: Store with features that a large vision-language model made of the clips, for systems with an expert of
            captions; a path as it is, or below the folder of the data. See 'avkit extract --recipe llava'. Clips that
            are not in it are left to the caption decoder.
    """

    visual: str | None = None
    audio: str | None = None
    expert: str | None = None


@dataclass(frozen=True)
class SceneOptions:
    """Sizes of the built-in dataset `scenes`.

    Attributes:
        train_size: Different training scenes.
        val_size: Scenes of the validation split.
        test_size: Scenes of the test split.
    """

    train_size: int = 20_000
    val_size: int = 64
    test_size: int = 256

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            check_positive(f"data.scenes.{name}", size)

    def size(self, split: str) -> int:
        """Scenes of a split: `train`, `val` or `test`."""
        return {"train": self.train_size, "val": self.val_size, "test": self.test_size}[split]


@dataclass(frozen=True)
class LoaderOptions:
    """How samples are read.

    Attributes:
        workers: Worker processes that read or render; 0 reads in the training process.
        prefetch: Batches that each worker keeps ready.
    """

    workers: int = 1
    prefetch: int = 3


def check_positive(option: str, value: int) -> None:
    """Raise ValueError unless an option's value is at least 1."""
    if value < 1:
        raise ValueError(f"{option} is {value}; it is at least 1.")
