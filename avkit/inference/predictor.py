# SPDX-License-Identifier: Apache-2.0
"""A trained run, ready to be asked about any video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from avkit.answers import Answer
from avkit.batch import Item
from avkit.collate import crop
from avkit.errors import RunError
from avkit.hub.run_files import save_run
from avkit.inference.answering import Inquiry, answer_clip
from avkit.inference.clip_result import ClipResult
from avkit.inference.expert_inputs import ExpertInputs
from avkit.inference.run_hops import RunHops
from avkit.inference.run_inputs import RunInputs
from avkit.inference.run_notes import notes_of
from avkit.inference.shown_steps import first_steps, picture_place
from avkit.inference.task_choice import choose_stepwise, choose_tasks, merge_answers
from avkit.media.decode import Clip, ClipSource, DecodedClip, open_clip, read_clip
from avkit.media.stream import iter_clips
from avkit.training.domain import SHORT_WARNING, warning_of
from avkit.training.module import AVModel
from avkit.training.run_folder import RunFolder

#: Name of the clip in batches.
_NAME = "clip"


class Predictor:
    """A trained model that answers about videos.

    Args:
        model: The model.
        source: Its run folder, for provenance.
        image_size: Height and width of the frames it was trained on, in pixels.
        device: Where to run; the GPU if there is one, where None.
    """

    def __init__(self, model: AVModel, source: str, image_size: int, device: str | None = None) -> None:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or default)
        self.model = model.to(self.device).eval()
        self.model.system.set_caption_repetition(allowed=False)
        self.source = source
        self.image_size = image_size
        self.provenance: dict[str, str] = {}
        #: Whether answers may be of another kind than their question asks for, such as a place for yes or no.
        self.any_answer = False
        #: What each task was trained on, see `avkit.training.domain`.
        self.domains: dict[str, str] = {}
        #: Seconds per step that each task was trained with.
        self.hops = RunHops()
        #: What makes the stored features of tasks that read some.
        self.stored = RunInputs()
        #: What makes the features of a large vision-language model, where the run reads some and a recipe is named.
        self.expert: ExpertInputs | None = None
        #: Its files; None for a converted checkpoint.
        self.folder: RunFolder | None = None
        #: Sentences for every result, such as that classes have no names.
        self.notes: list[str] = []

    @classmethod
    def from_pretrained(cls, source: Path | str, revision: str | None = None, device: str | None = None) -> "Predictor":
        """A run from a folder or a repository, as `avkit.load` does."""
        from avkit.inference.loading import load

        return load(source, device, revision=revision)

    def save_pretrained(self, folder: Path | str) -> Path:
        """Write what others need of the run to a new folder, with a model card; returns the folder.

        Raises:
            RunError: If it has no run folder, or the folder is not empty.
        """
        if self.folder is None:
            raise RunError(f"{self.source} has no run folder: a converted checkpoint is a file to copy.")
        save_run(self.folder, Path(folder))
        return Path(folder)

    @property
    def tasks(self) -> list[str]:
        """The tasks it was trained for."""
        return list(self.model.tasks)

    def tasks_with(self, *kinds: type[Answer]) -> list[str]:
        """The tasks that declare answers of all these kinds."""
        return [name for name, task in self.model.tasks.items() if set(kinds) <= set(task.answers)]

    def warning(self, tasks: Sequence[str]) -> str:
        """What a reader of the answers of some tasks must know of what the run has seen; empty if there is nothing."""
        return self.stored.warning(tasks) or warning_of(self.domains, tasks)

    def predict(
        self,
        path: Path | str,
        tasks: Sequence[str] | str | None = None,
        question: str | Sequence[str] | None = None,
        hop: float | None = None,
        audio: Path | str | None = None,
        silent_ok: bool = False,
    ) -> ClipResult:
        """The answers of tasks to one video.

        Where the tasks read stored features, these are made of the video first.

        Args:
            path: Any video, or a still picture with `audio`.
            tasks: Names, or all of the run where None; those that answer questions are then left out if there is none.
            question: One question or several, for tasks that answer questions.
            hop: Seconds per step, those of its training by default; stored features have their own.
            audio: Sound file to use instead of the video's own track.
            silent_ok: Use silence where the video has no sound.

        Raises:
            MediaError: If the file cannot be read, or lacks picture or sound.
            ValueError: If a task is not of this run, or needs a question and there is none; or a hop is given for
                tasks that read stored features; or none is, and the tasks were trained with several.
            AvkitError: If encoders of stored features lack a library or weights.
        """
        questions = [question] if isinstance(question, str) else list(question or [])
        names, notes = choose_tasks(self.source, self.model.tasks, tasks, questions)
        media = open_clip(path, audio)
        stored = self.stored.of(names, hop)
        item: Item | None = None
        if stored is not None:
            self._check_steps(names, stored.count_steps(media))
            item = stored.read(media, silent_ok)
            clip = self._read_shown(media, item, silent_ok)
        else:
            seconds = self.hops.of(names, hop)
            clip = read_clip(media, seconds, self.picture_size(media, seconds), silent_ok=silent_ok)
        if self.expert is not None:
            item = self.expert.add(item or _as_item(clip), self.expert.read(media))
        self.model.system.on_evaluation_start()
        result = self.predict_clip(clip, names, media, questions, item)
        result.notes = list(dict.fromkeys(notes + self.notes + notes_of(self.model, names, questions)))
        return result

    def picture_size(self, media: Clip, hop: float) -> int | tuple[int, int]:
        """Height and width to which the pictures of a video are resized; one number for both.

        Args:
            media: The video.
            hop: Seconds per step.
        """
        return self.image_size

    def load_encoders(
        self, tasks: Sequence[str] | str | None = None, question: Sequence[str] = (), hop: float | None = None
    ) -> None:
        """Load the encoders of stored features now and not with the first video; arguments as in `predict`.

        Raises:
            ValueError: As in `predict`.
            AvkitError: If encoders lack a library or weights, or have others than the run was trained with.
        """
        names, _ = choose_tasks(self.source, self.model.tasks, tasks, list(question))
        stored = self.stored.of(names, hop)
        if stored is not None:
            _ = stored.extractor
        if self.expert is not None:
            _ = self.expert.extractor

    def _check_steps(self, tasks: Sequence[str], steps: int | None) -> None:
        if steps is None:
            return
        for name in tasks:
            self.model.system.check_steps(name, steps)

    def _read_shown(self, media: Clip, item: Item, silent_ok: bool) -> DecodedClip:
        """Pictures and sound of the steps of features, to be shown."""
        return read_clip(
            media,
            item.hop,
            self.image_size,
            silent_ok=silent_ok,
            offset=picture_place(item),
            steps=item.steps,
            partial_ok=True,
        )

    def stream(
        self,
        path: Path | str,
        tasks: Sequence[str] | str | None = None,
        hop: float | None = None,
        audio: Path | str | None = None,
        silent_ok: bool = False,
        window: int = 10,
    ) -> Iterator[tuple[float, ClipResult]]:
        """The answers of tasks that answer each step on its own to a video of any length, a window at a time.

        No more than a window of pictures is in memory; stored features are made of the whole video first. A window is
        predicted by itself, as in training.

        Args:
            path: Any video.
            tasks: Names; where None, those of the run that answer step by step.
            hop: Seconds per step, those of its training by default; stored features have their own.
            audio: Sound file to use instead of the video's own track.
            silent_ok: Use silence where the video has no sound.
            window: Steps per window.

        Yields:
            Seconds from the start of the video to the start of the window, and the answers, with times from there.

        Raises:
            MediaError: If the file cannot be read, or lacks picture or sound.
            ValueError: If a task is not of this run, or needs the whole video; or a hop is given for tasks that read
                stored features; or none is, and the tasks were trained with several.
        """
        names = choose_stepwise(self.source, self.model.tasks, tasks)
        media = open_clip(path, audio)
        for start, clip, item in self.iter_windows(media, names, hop, silent_ok, window):
            yield start, self.predict_clip(clip, names, media, item=item)

    def iter_windows(
        self, media: Clip, tasks: Sequence[str], hop: float | None, silent_ok: bool, window: int = 10
    ) -> Iterator[tuple[float, DecodedClip, Item | None]]:
        """A video in windows, as tasks read them; arguments as in `stream`.

        Yields:
            Seconds from the start of the video, pictures and sound, and what the model reads where that is not these.
        """
        expert = None if self.expert is None else self.expert.read(media)
        for start, clip, item in self._windows(media, tasks, hop, silent_ok, window):
            if self.expert is not None and expert is not None:
                item = self.expert.add(item or _as_item(clip), expert, start)
            yield start, clip, item

    def _windows(
        self, media: Clip, tasks: Sequence[str], hop: float | None, silent_ok: bool, window: int
    ) -> Iterator[tuple[float, DecodedClip, Item | None]]:
        """Windows without the features of an expert."""
        stored = self.stored.of(tasks, hop)
        if stored is None:
            start = 0.0
            seconds = self.hops.of(tasks, hop)
            size = self.picture_size(media, seconds)
            for clip in iter_clips(media, window, seconds, size, silent_ok=silent_ok):
                yield start, clip, None
                start += clip.steps * clip.hop
            return
        item = stored.read(media, silent_ok)
        first = 0
        place = picture_place(item)
        for clip in iter_clips(media, window, item.hop, self.image_size, silent_ok=silent_ok, offset=place):
            if first >= item.steps:
                return
            part = crop(item, first, clip.steps)
            yield first * item.hop, first_steps(clip, part.steps), part
            first += clip.steps

    @torch.inference_mode()
    def predict_clip(
        self,
        clip: DecodedClip,
        tasks: Sequence[str],
        source: ClipSource = "",
        questions: Sequence[str] = (),
        item: Item | None = None,
    ) -> ClipResult:
        """The answers of tasks to a clip that has been read; encoders run once for all of them.

        Args:
            clip: Frames of the size that the run takes, and sound.
            tasks: Names.
            source: The file, or open clip, that it was read from.
            questions: For tasks that answer questions.
            item: What the model reads where that is not pictures and sound alone.
        """
        item = item or _as_item(clip)
        result = ClipResult(
            source=source.path if isinstance(source, Clip) else Path(source),
            duration=clip.duration or clip.steps * clip.hop,
            hop=clip.hop,
            tasks=list(tasks),
            waveform=clip.waveform.numpy(),
            frames=clip.frames.numpy(),
            provenance=self.provenance,
            size=clip.source_size,
            fps=clip.fps,
            media=source if isinstance(source, Clip) else None,
            domains={task: self.domains[task] for task in tasks if task in self.domains},
            warning=self.warning(tasks),
            short_warning=self.stored.short_warning(tasks) or (SHORT_WARNING if self.warning(tasks) else ""),
            crop=self.stored.crop(tasks),
        )
        inquiries = []
        for name in tasks:
            for question in questions if self.model.tasks[name].needs_question() else [""]:
                inquiries.append(Inquiry(name, question))
        answers = answer_clip(self.model, item, result.grid, inquiries, self.device, any_answer=self.any_answer)
        result.answers = merge_answers(self.model.tasks, answers)
        return result

    def set_caption_change_threshold(self, threshold: float) -> None:
        """Repeat a caption while its source changes by no more than `threshold`; 0 writes every caption anew.

        Raises:
            ValueError: If `threshold` is negative, or no task of this run can.
        """
        if threshold < 0:
            raise ValueError(f"caption_change_threshold is {threshold}; it is 0 or more.")
        if not self.model.system.set_caption_change_threshold(threshold):
            raise ValueError(
                f"Run {self.source} writes the caption of every step anew: only SSUFormer can repeat one. Leave "
                "caption_change_threshold out."
            )


def _as_item(clip: DecodedClip) -> Item:
    """Pictures and sound as the model reads them."""
    return Item(_NAME, clip.steps * clip.hop, clip.hop, clip.frames, clip.waveform)
