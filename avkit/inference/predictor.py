# SPDX-License-Identifier: Apache-2.0
"""A trained run, ready to be asked about any video."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from avkit import __version__
from avkit.batch import Batch, Item, Prediction, Vocabulary
from avkit.collate import collate
from avkit.errors import RunError, unknown_name
from avkit.media.decode import Clip, ClipSource, DecodedClip, iter_frames, open_clip, read_clip, write_video
from avkit.media.stream import iter_clips
from avkit.report import Answer, Event, Result, overlay_frames, save_result
from avkit.systems import make_config
from avkit.systems.base import Senses, join_senses
from avkit.text.tokenizer import split_words
from avkit.training.module import AVModel
from avkit.training.run_folder import RunFolder

#: Steps that are predicted in one go by tasks which answer step by step; bounds memory on long videos.
PIECE = 60
#: Least probability of a dense event that is shown.
SURE_EVENT = 0.25


@dataclass
class ClipResult(Result):
    """What a run says about one clip, with a way to keep it.

    Attributes:
        fps: Pictures per second of the source, 0 for a still picture.
        media: The open source; `save` opens `source` where it is None.
    """

    fps: float = 0.0
    media: Clip | None = None

    def save(self, folder: Path | str, video: bool = True) -> dict[str, Path]:
        """Write result.json, timeline.png, report.html, masks, and overlay.mp4 with the clip's own sound.

        Args:
            folder: Where; made when absent.
            video: Write the overlay too.

        Returns:
            Paths by name: `result`, `timeline`, `report`, `masks`, `overlay` and so on, those that were written.
        """
        folder = Path(folder)
        paths = save_result(folder, self)
        if video:
            clip = self.media or open_clip(self.source)
            frames = overlay_frames(self._pictures(clip), self)
            paths["overlay"] = write_video(folder / "overlay.mp4", frames, self.fps or 1 / self.hop, clip)
        return paths

    def _pictures(self, clip: Clip) -> Iterator[tuple[float, Any]]:
        """The source's pictures with their times; a still picture once per step."""
        if self.fps:
            yield from iter_frames(clip)
            return
        (_, picture), *_ = iter_frames(clip)
        for step in range(self.steps):
            yield step * self.hop, picture


class Predictor:
    """A model and where it came from.

    Args:
        model: The model.
        source: Its run folder, for provenance.
        picture: Height and width of the pictures it was trained on.
        device: Where to run; the GPU if there is one, where None.
    """

    def __init__(self, model: AVModel, source: str, picture: int, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.to(self.device).eval()
        self.source, self.picture = source, picture
        self.provenance: dict[str, str] = {}

    @property
    def tasks(self) -> list[str]:
        """The tasks it was trained for."""
        return list(self.model.tasks)

    def predict(
        self,
        path: Path | str,
        tasks: Sequence[str] | str | None = None,
        question: str | Sequence[str] | None = None,
        hop: float = 1.0,
        audio: Path | str | None = None,
        silent_ok: bool = False,
    ) -> ClipResult:
        """Masks, captions, answers, events and heat maps for one video.

        Args:
            path: Any video, or a still picture with `audio`.
            tasks: Names, or all of the run where None; `avqa` is then left out if there is no question.
            question: One question or several, for `avqa`.
            hop: Seconds per step.
            audio: Sound file to use instead of the video's own track.
            silent_ok: Use silence where the video has no sound.

        Raises:
            MediaError: If the file cannot be read, or lacks picture or sound.
            ValueError: If a task is not of this run, or `avqa` has no question.
        """
        questions = [question] if isinstance(question, str) else list(question or [])
        names, notes = self._choose(tasks, questions)
        media = open_clip(path, audio)
        clip = read_clip(media, hop, self.picture, silent_ok=silent_ok)
        result = self._result(media, clip, names)
        senses = self._sense(clip)
        for name in names:
            self.model.tasks[name].begin()
            if self.model.tasks[name].untrimmed:
                self._list_events(clip, senses, name, result)
            elif name == "avqa":
                result.answers = [self._answer(clip, senses, q) for q in questions]
                notes += [note for q in questions if (note := self._unknown_words(q))]
            else:
                self._describe(clip, senses, name, result)
            notes += self.model.tasks[name].notes()
        result.notes = notes
        return result

    def stream(
        self,
        path: Path | str,
        tasks: Sequence[str] | str | None = None,
        hop: float = 1.0,
        audio: Path | str | None = None,
        silent_ok: bool = False,
        window: int = 10,
    ) -> Iterator[tuple[float, ClipResult]]:
        """What tasks that answer step by step say about a video of any length, a window at a time.

        No more than a window is in memory. A window is looked at by itself, as in training.

        Args:
            path: Any video.
            tasks: Names; where None, those of the run that answer step by step.
            hop: Seconds per step.
            audio: Sound file to use instead of the video's own track.
            silent_ok: Use silence where the video has no sound.
            window: Steps per window.

        Yields:
            Seconds from the start of the video to the start of the window, and the answers, with times from there.

        Raises:
            MediaError: If the file cannot be read, or lacks picture or sound.
            ValueError: If a task is not of this run, or needs the whole video.
        """
        stepwise = [name for name, task in self.model.tasks.items() if task.stepwise]
        if tasks is None or tasks in ("all", ["all"]):
            names = stepwise
        else:
            names, _ = self._choose(tasks, [])
        whole = [name for name in names if name not in stepwise]
        if whole or not names:
            raise ValueError(
                f"{f'Task {whole[0]!r} needs' if whole else 'All tasks of this run need'} the whole video and cannot "
                f"be streamed. Tasks of this run that answer step by step: {', '.join(stepwise) or 'none'}."
            )
        start = 0.0
        media = open_clip(path, audio)
        for clip in iter_clips(media, window, hop, self.picture, silent_ok=silent_ok):
            yield start, self.describe(clip, names, media)
            start += clip.steps * hop

    def describe(self, clip: DecodedClip, tasks: Sequence[str], source: ClipSource = "") -> ClipResult:
        """What tasks that answer step by step say about a clip that has been read.

        Args:
            clip: Pictures of the size that the run takes, and sound.
            tasks: Names.
            source: The file, or open clip, that it was read from.
        """
        result, senses = self._result(source, clip, list(tasks)), self._sense(clip)
        for name in tasks:
            self._describe(clip, senses, name, result)
        return result

    def set_steady(self, steady: float) -> None:
        """Let captions be written anew only where what they are about has changed by more than `steady`; 0 writes all.

        Raises:
            ValueError: If no task of this run can, or `steady` is negative.
        """
        heads = [head for head in self.model.heads.values() if hasattr(head, "steady")]
        if not heads or steady < 0:
            raise ValueError(
                f"steady is {steady}; it is 0 or more."
                if heads
                else f"Run {self.source} writes every caption by itself: only SSUFormer can leave some as they were."
            )
        for head in heads:
            head.steady = steady  # type: ignore[assignment]

    def _result(self, source: ClipSource, clip: DecodedClip, names: list[str]) -> ClipResult:
        """An empty result about a clip."""
        media = source if isinstance(source, Clip) else None
        return ClipResult(
            source=source.path if isinstance(source, Clip) else Path(source),
            duration=clip.duration or clip.steps * clip.hop,
            hop=clip.hop,
            tasks=names,
            waveform=clip.waveform.numpy(),
            frames=clip.frames.numpy(),
            provenance=self.provenance,
            size=clip.source_size,
            fps=clip.fps,
            media=media,
        )

    def _choose(self, tasks: Sequence[str] | str | None, questions: list[str]) -> tuple[list[str], list[str]]:
        """The tasks to run, and notes about those left out."""
        every = tasks is None or tasks in ("all", ["all"])
        named = self.tasks if every else [t.strip() for t in tasks.split(",")] if isinstance(tasks, str) else tasks
        names = [name for name in named or [] if name]
        if not names:
            raise ValueError(f"No task is named. This run has {', '.join(self.tasks)}.")
        for name in names:
            if name not in self.tasks:
                raise unknown_name(f"task of run {self.source}", name, self.tasks)
        for question in questions:
            if not split_words(question) or not any(c.isalnum() for c in question):
                raise ValueError(
                    f"The question {question!r} has no words. Ask one, such as --question 'how many things "
                    "make a sound?'."
                )
        if "avqa" not in names and questions:
            raise ValueError(
                f"A question was asked, and task 'avqa' is not among {', '.join(names)}. Add it, or leave "
                "the question out."
            )
        if "avqa" in names and not questions:
            if not every:
                raise ValueError("Task 'avqa' needs a question. Add --question '...', or leave avqa out of --tasks.")
            return [n for n in names if n != "avqa"], ["avqa was left out: no question was asked."]
        return list(dict.fromkeys(names)), []

    def _batch(self, clip: DecodedClip, task: str, steps: slice, text: str | None = None) -> Batch:
        rate = round(clip.hop * 16_000)
        frames = clip.frames[steps]
        sound = clip.waveform[steps.start * rate : (steps.start + len(frames)) * rate]
        item = Item("clip", len(frames) * clip.hop, clip.hop, frames, sound, text=text)
        return collate([item], task).to(self.device)

    @torch.inference_mode()
    def _sense(self, clip: DecodedClip) -> Senses:
        """What the encoders make of the clip, once for all tasks."""
        return join_senses([self.model.system.sense(self._batch(clip, "", part)) for part in _pieces(clip)])

    @torch.inference_mode()
    def _run(self, clip: DecodedClip, senses: Senses, task: str, steps: slice, text: str | None = None) -> Prediction:
        prediction: Prediction = self.model(self._batch(clip, task, steps, text), senses.steps(steps))
        return prediction

    def _answer(self, clip: DecodedClip, senses: Senses, question: str) -> Answer:
        found = self._run(clip, senses, "avqa", slice(0, clip.steps), question)
        scores = found["answer_scores"][0].softmax(-1).cpu()
        best = scores.topk(min(5, len(scores)))
        words = self.model.vocabulary.of("avqa").answers
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Answer(question, found["answer"][0], {words[i]: round(p, 4) for i, p in pairs}, _chosen(found, clip))

    def _list_events(self, clip: DecodedClip, senses: Senses, task: str, result: ClipResult) -> None:
        """Fill in the events of a task that looks at the whole clip, or at pieces where answers are sequences."""
        names = self.model.vocabulary.of(task).classes
        found = []
        for part in [slice(0, clip.steps)] if self.model.decoder is None else _pieces(clip):
            for start, end, k, score in self._run(clip, senses, task, part)["event_list"][0].tolist():
                if score >= SURE_EVENT:
                    found.append((start + part.start * clip.hop, end + part.start * clip.hop, names[int(k)], score))
        result.events += [Event(task, "both", name, start, end, score) for start, end, name, score in sorted(found)]

    def _describe(self, clip: DecodedClip, senses: Senses, task: str, result: ClipResult) -> None:
        """Fill in what a task says about each step, piece by piece."""
        parts = [self._run(clip, senses, task, part) for part in _pieces(clip)]

        def join(name: str) -> Tensor:
            return torch.cat([p[name][0].cpu() for p in parts])

        found = parts[0].values
        if "mask" in found and (result.masks is None or task == "avs"):
            result.masks = join("mask").numpy()
        if "class_mask" in found:
            result.class_mask = join("class_mask").numpy()
            result.class_names = self.model.vocabulary.of(task).classes
        if "heat" in found:
            result.heat = join("heat").numpy()
        if "event" in found:
            spoken = self.model.vocabulary.of(task).classes
            labels = [text for p in parts for text in p["event"][0]]
            result.events += runs(
                task, "both", spoken, np.array([[x == name for name in spoken] for x in labels]), result
            )
        if "audio_scores" in found:
            sure = [p["clip_scores"][0] >= 0.5 for p in parts]

            def steps(field: str) -> NDArray[np.bool_]:
                return torch.cat([(p[field][0] >= 0.5) & s for p, s in zip(parts, sure, strict=True)]).cpu().numpy()

            result.events += runs(task, "heard", self.model.vocabulary.of(task).classes, steps("audio_scores"), result)
            result.events += runs(task, "seen", self.model.vocabulary.of(task).classes, steps("visual_scores"), result)
        if "caption" in found:
            result.captions = [text for p in parts for text in p["caption"][0]]

    def _unknown_words(self, question: str) -> str:
        if getattr(self.model.system.config, "text", "") != "small":
            return ""
        known = set(self.model.vocabulary.words)
        strange = [w for w in dict.fromkeys(split_words(question)) if w.isalnum() and w not in known]
        return f"The run never saw these words of {question!r}: {', '.join(strange)}." if strange else ""


def _chosen(found: Prediction, clip: DecodedClip) -> list[tuple[float, float, float]]:
    """Start, end and weight of the steps that an answer was made of, where the model chooses some."""
    if "chosen" not in found.values:
        return []
    weights = found["step_weights"][0].tolist()
    return [(t * clip.hop, (t + 1) * clip.hop, round(weights[t], 4)) for t in found["chosen"][0].tolist()]


def _pieces(clip: DecodedClip) -> list[slice]:
    """Steps of a clip, at most `PIECE` in each part."""
    return [slice(i, min(i + PIECE, clip.steps)) for i in range(0, clip.steps, PIECE)]


def runs(
    task: str, modality: Literal["heard", "seen", "both"], names: Sequence[str], on: NDArray[np.bool_], result: Result
) -> list[Event]:
    """Stretches of steps in which a class is on, from bool (T, K), by their start."""
    edges = np.diff(np.pad(on.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    found = []
    for k, name in enumerate(names):
        for first, after in zip(*(np.flatnonzero(edges[:, k] == sign) for sign in (1, -1)), strict=True):
            found.append(Event(task, modality, name, result.span(int(first))[0], result.span(int(after) - 1)[1]))
    return sorted(found, key=lambda event: (event.start, event.name))


def load(run: Path | str, device: str | None = None) -> Predictor:
    """A trained run, from its folder or from a hub.

    Args:
        run: Folder that `avkit fit` made, or `owner/name` of a Hugging Face repository with the same files.
        device: Such as `cpu` or `cuda:0`; the GPU if there is one, where None.

    Raises:
        RunError: If it is no run, or its weights do not fit its config.
    """
    folder = _find(str(run))
    facts, weights = folder.read_facts(), folder.weights
    config = yaml.safe_load(folder.config.read_text(encoding="utf-8"))["model"]
    # the run's own weights are loaded below
    system = make_config({k: None if k.endswith("_weights") else v for k, v in (config.get("system") or {}).items()})
    model = AVModel(
        ",".join(facts["tasks"]),
        Vocabulary(**facts["vocabulary"]),
        system,
        config.get("prompts"),
        interface=config.get("interface", "heads"),
        features=facts.get("features"),
        expert=facts.get("expert"),
    )
    try:
        model.load_state_dict({k: x for k, x in load_file(weights).items() if not k.startswith("balance.")})
    except RuntimeError as e:
        raise RunError(f"{weights} does not fit {folder.config}: {e}. Use the files of one run together.") from e
    predictor = Predictor(model, str(run), facts["image_size"], device)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    predictor.provenance = {"run": str(run), "weights": f"{weights.name} sha256 {digest}", "avkit": __version__}
    return predictor


def _find(run: str) -> RunFolder:
    path = Path(run)
    if path.exists() or run.count("/") != 1 or run.startswith((".", "/", "runs/")):
        return RunFolder(path)
    from huggingface_hub import snapshot_download

    wanted = ["config.yaml", "run.json", "checkpoints/best.safetensors"]
    try:
        return RunFolder(snapshot_download(run, allow_patterns=wanted))
    except Exception as e:  # the hub raises many kinds: no network, no such repository, no rights
        raise RunError(f"{run} is no folder here, and the hub did not give it: {e}") from e
