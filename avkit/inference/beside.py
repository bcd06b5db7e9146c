# SPDX-License-Identifier: Apache-2.0
"""The answers of another run about the same video, shown on the same time line."""

from collections.abc import Sequence
from pathlib import Path

from avkit.inference.clip_result import ClipResult
from avkit.inference.loading import load
from avkit.inference.predictor import Predictor


def load_beside(
    run: str,
    own: Predictor,
    *,
    trust: bool = False,
    features: str | None = None,
    weights: str | None = None,
    names: str | None = None,
) -> Predictor:
    """Another run, or converted checkpoint, to answer about the videos that a run is asked about.

    Args:
        run: As of `load`.
        own: The run that it stands beside, whose device and rule for answers it takes.
        trust: As of `load`.
        features: Recipes, where the first run reads stored features; the other then makes its own by the same.
        weights: Weights of the recipes' encoders, likewise.
        names: Names of classes, for a converted checkpoint.
    """
    reads_features = bool(own.stored)
    other = load(
        run,
        str(own.device),
        trust=trust,
        features=features if reads_features else None,
        weights=weights if reads_features else None,
        names=names if Path(run).is_file() else None,
    )
    other.any_answer = own.any_answer
    return other


def add_beside(
    result: ClipResult,
    other: Predictor,
    questions: Sequence[str] | None = None,
    hop: float | None = None,
    audio: Path | None = None,
    silent_ok: bool = False,
) -> None:
    """Put the answers of another run about a result's video beside its own.

    Args:
        result: What a run answered.
        other: Another run, such as a baseline; of its tasks those that the result has are asked.
        questions: For tasks that answer questions.
        hop: Seconds per step, those of its training where None; stored features have their own.
        audio: Sound file to use instead of the video's own track.
        silent_ok: Use silence where the video has no sound.

    Raises:
        ValueError: If the runs have no task in common.
    """
    tasks = [task for task in result.tasks if task in other.tasks]
    if not tasks:
        raise ValueError(
            f"Run {other.source} has none of the tasks {', '.join(result.tasks)}; it has {', '.join(other.tasks)}. "
            "Name a run of the same task with --beside."
        )
    result.beside = other.predict(result.source, tasks, questions, hop, audio, silent_ok).answers
    result.beside_name = Path(other.source).name
