# SPDX-License-Identifier: Apache-2.0
"""The answers of another run about the same video, shown on the same time line."""

from collections.abc import Sequence
from pathlib import Path

from avkit.inference.clip_result import ClipResult
from avkit.inference.predictor import Predictor


def add_beside(
    result: ClipResult,
    other: Predictor,
    questions: Sequence[str] | None = None,
    hop: float = 1.0,
    audio: Path | None = None,
    silent_ok: bool = False,
) -> None:
    """Put the answers of another run about a result's video beside its own.

    Args:
        result: What a run answered.
        other: Another run, such as a baseline; of its tasks those that the result has are asked.
        questions: For tasks that answer questions.
        hop: Seconds per step.
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
