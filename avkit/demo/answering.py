# SPDX-License-Identifier: Apache-2.0
"""From a dropped video to the answer on the page, stage by stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.demo.clip_check import Limits, check_clip
from avkit.demo.silence import IN_SILENCE, describe_changes, write_silence
from avkit.demo.work_folder import WorkFolder
from avkit.errors import AvkitError
from avkit.files import write_file
from avkit.inference.clip_result import ClipResult
from avkit.inference.predictor import Predictor
from avkit.report.player import PlayerFiles, player_html
from avkit.report.terminal import terminal_lines
from avkit.report.timeline import timeline

#: Where the files of answers are served, below the page's address.
ANSWERS = "avkit/answers"
#: Longer side in pixels of the videos of an answer.
_SIDE = 1280
#: Questions about one video, and letters of each.
_MAX_QUESTIONS = 10
_MAX_LETTERS = 300


@dataclass(frozen=True)
class Inquiry:
    """What somebody asks the page.

    Attributes:
        upload: Path of the video, as the browser says.
        name: What its owner calls it.
        tasks: Tasks to run.
        questions: Questions.
        in_silence: Whether to ask again without sound.
        silent_ok: Whether the video may lack sound.
        dark: Whether the page is dark.
    """

    upload: str
    name: str
    tasks: Sequence[str]
    questions: Sequence[str] = ()
    in_silence: bool = True
    silent_ok: bool = False
    dark: bool = False


@dataclass(frozen=True)
class Progress:
    """What is being done.

    Attributes:
        text: That, in words.
        lines: The answer in plain words, as soon as there is one.
    """

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """The answer, as HTML."""

    html: str


class Answerer:
    """Answers inquiries, one at a time.

    Args:
        predictor: A run, or the system without training.
        work: Where files are.
        limits: What a video may be.
        tasks: Tasks that the page offers; those of the run where empty.
        hop: Seconds per step; as the run has it where None.
    """

    def __init__(
        self,
        predictor: Predictor,
        work: WorkFolder,
        limits: Limits,
        tasks: Sequence[str] = (),
        hop: float | None = None,
    ) -> None:
        self.predictor = predictor
        self.work = work
        self.limits = limits
        self.tasks = list(tasks) or predictor.tasks
        self.hop = hop

    def needs_question(self, task: str) -> bool:
        """Whether a task answers questions."""
        return self.predictor.model.tasks[task].needs_question()

    def answer(self, inquiry: Inquiry, session: str) -> Iterator[Progress | Answered]:
        """The stages of an answer, and the answer; the upload is deleted at the end, and everything after a failure.

        Raises:
            AvkitError: If the video cannot be answered about; the text holds no path.
            ValueError: If tasks and questions do not fit, likewise.
        """
        folder = self.work.new_answer(session)
        clip = None
        finished = False
        try:
            clip = self.work.take_upload(inquiry.upload, inquiry.name, folder)
            tasks, notes = self._choose(inquiry)
            yield from self._stages(inquiry, tasks, notes, clip, folder)
            finished = True
        except (AvkitError, ValueError) as error:
            text = str(error)
            if clip is not None:
                text = text.replace(str(clip), inquiry.name)
            raise type(error)(text.replace(str(folder), "")) from error
        finally:
            if clip is not None:
                clip.unlink(missing_ok=True)
            if not finished:
                self.work.end_session(session)

    def _choose(self, inquiry: Inquiry) -> tuple[list[str], list[str]]:
        """Tasks that are asked, and sentences about those left out."""
        names = list(dict.fromkeys(inquiry.tasks))
        if not names:
            raise ValueError(f"No task is ticked. Tick one or more of {', '.join(self.tasks)}.")
        if len(inquiry.questions) > _MAX_QUESTIONS or any(len(text) > _MAX_LETTERS for text in inquiry.questions):
            raise ValueError(f"Ask at most {_MAX_QUESTIONS} questions of {_MAX_LETTERS} letters, one per line.")
        answering = [name for name in self.tasks if self.needs_question(name)]
        if inquiry.questions:
            if not answering:
                raise ValueError(f"No task here answers questions; there are {', '.join(self.tasks)}. Leave it out.")
            if not set(answering) & set(names):
                raise ValueError(f"Tick {answering[0]} to have the question answered, or leave it out.")
            return names, []
        left = [name for name in names if name not in answering]
        if not left:
            raise ValueError(f"{names[0]} answers questions: write one.")
        return left, [f"{name} was left out: no question was asked." for name in names if name in answering]

    def _stages(
        self, inquiry: Inquiry, tasks: Sequence[str], notes: Sequence[str], path: Path, folder: Path
    ) -> Iterator[Progress | Answered]:
        """Predict with sound, then without, and draw both."""
        media = check_clip(path, inquiry.name, self.limits, silent_ok=inquiry.silent_ok)
        yield Progress(f"Answering about {inquiry.name} ...")
        result = self._predict(path, tasks, inquiry)
        result.notes += notes
        lines = tuple(terminal_lines(result))
        silent = None
        if inquiry.in_silence and media.info.has_audio:
            yield Progress("The same in silence ...", lines)
            sound = write_silence(folder / "silence.wav", media.info.duration)
            silent = self._predict(path, tasks, inquiry, sound)
            result.beside = silent.answers
            result.beside_name = IN_SILENCE
        yield Progress("Drawing ...", lines)
        yield Answered(self._draw(result, silent, inquiry, folder))
        (folder / "silence.wav").unlink(missing_ok=True)

    def _predict(self, path: Path, tasks: Sequence[str], inquiry: Inquiry, sound: Path | None = None) -> ClipResult:
        questions = list(inquiry.questions)
        return self.predictor.predict(path, list(tasks), questions, self.hop, sound, silent_ok=inquiry.silent_ok)

    def _draw(self, result: ClipResult, silent: ClipResult | None, inquiry: Inquiry, folder: Path) -> str:
        """Write the files of an answer, and return its HTML."""
        result.source = Path(inquiry.name)  # what its owner calls it, and not where it lies here
        result.save(folder, video=False)
        result.save_overlay(folder / "overlay.mp4", _SIDE)
        picture = "timeline.png"
        if inquiry.dark:
            picture = "timeline-dark.png"
            write_file(folder / picture, timeline(result, "dark"))
        address = f"{ANSWERS}/{folder.name}"
        files = PlayerFiles(f"{address}/overlay.mp4", f"{address}/{picture}", f"{address}/report.html")
        files.downloads = {"result.json": f"{address}/result.json", "overlay.mp4": files.overlay}
        changes: list[str] = []
        if silent is not None:
            silent.save_overlay(folder / "silence.mp4", _SIDE)
            files.silent = f"{address}/silence.mp4"
            changes = describe_changes(result.answers, silent.answers)
        return player_html(result, inquiry.name, files, silent, changes)
