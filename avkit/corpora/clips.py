# SPDX-License-Identifier: Apache-2.0
"""Making planned clips: ten seconds, 30 frames per second, 512 x 512, with sound; and the lists that readers take.

The same plan gives the same lists and the same `audio.wav` byte for byte, and the same frames. Their coding is
FFmpeg's, whose fast paths depend on where memory happens to lie: some pixels may differ by a step or two of 256.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.corpora.plan import Plan, Planned
from avkit.errors import AvkitError, DataError
from avkit.files import write_file
from avkit.media import decode
from avkit.media.write import write_wave


@dataclass(frozen=True)
class Form:
    """What clips are like: length in seconds, frames per second, side in pixels."""

    seconds: float = 10.0
    fps: int = 30
    side: int = 512

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return round(self.seconds * self.fps)


@dataclass
class Built:
    """What was made.

    Attributes:
        new: Clips of this run.
        done: Clips that are there.
        failed: Clips that could not be made, with the reason.
    """

    new: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def build(
    plan: Plan, name: str, out: Path, form: Form, workers: int = 2, each: Callable[[str], None] | None = None
) -> Built:
    """Make what is not there yet; a clip is there when its `meta.json` is, which is written last.

    Args:
        plan: What to make.
        name: Name of the dataset.
        out: Its folder.
        form: What clips are like.
        workers: Clips that are made at the same time.
        each: Called with the name of each clip that was not there, once it is through.

    Raises:
        DataError: If the folder holds clips of another form or dataset.
    """
    facts = {
        "name": name,
        "version": 1,
        "fps": form.fps,
        "size": [form.side, form.side],
        "seconds": form.seconds,
        "classes": plan.classes,
    }
    _check_same(out / "dataset.json", facts)
    write_file(out / "dataset.json", json.dumps(facts, indent=1))
    result = Built()
    todo = [clip for clip in plan.clips if not (out / "clips" / clip.name / "meta.json").is_file()]
    for clip, fault in zip(todo, _made(todo, out, form, workers), strict=True):
        result.new += not fault
        if fault:
            result.failed[clip.name] = fault
        if each is not None:
            each(clip.name)
    there = [clip for clip in plan.clips if clip.name not in result.failed]
    result.done = len(there)
    for split in ("train", "val", "test"):
        names = [clip.name for clip in there if clip.split == split]
        write_file(out / "splits" / f"{split}.txt", "".join(f"{n}\n" for n in names))
    return result


def _made(clips: list[Planned], out: Path, form: Form, workers: int) -> Iterator[str]:
    """Make clips; yields what is wrong with each, the empty string where nothing is."""
    with ThreadPoolExecutor(max(1, workers)) as pool:  # FFmpeg works outside of Python's lock
        yield from pool.map(partial(_try, out=out, form=form), clips)


def _try(clip: Planned, out: Path, form: Form) -> str:
    try:
        make_clip(clip, out, form)
    except AvkitError as error:
        return str(error)
    return ""


def make_clip(clip: Planned, out: Path, form: Form) -> None:
    """Write one clip: sound, video with the sound, and last its facts.

    Raises:
        MediaError: If a video cannot be read or has no sound.
        DataError: If a video is shorter than a clip by more than a second.
    """
    folder = out / "clips" / clip.name
    videos = [decode.open_clip(part.path) for part in clip.parts]
    spans = [_start(video, clip.draw, form) for video in videos]
    sound = mix([_sound(video, start, form) for video, start in zip(videos, spans, strict=True)])
    write_wave(folder / "audio.wav", sound)
    decode.write_video(folder / "video.mp4", _frames(clip, videos, spans, form), form.fps, folder / "audio.wav")
    sources = [{"source": k, "label": label} for k, label in enumerate(clip.labels, 1)]
    origin = [{"clip": p.name, "start": round(s, 3)} for p, s in zip(clip.parts, spans, strict=True)]
    meta = {
        "id": clip.name,
        "kind": clip.kind,
        "num_frames": form.frames,
        "sources": sources,
        "origin": [o["clip"] for o in origin],
        "starts": [o["start"] for o in origin],
    }
    write_file(folder / "meta.json", json.dumps(meta))


def mix(sounds: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Sounds over each other at equal loudness, no louder than full scale; a single one as it is."""
    if len(sounds) == 1:
        return sounds[0]
    level = [float(np.sqrt(np.mean(s**2))) for s in sounds]
    target = max(level)
    total = sum(s * (target / x if x > 1e-4 else 1.0) for s, x in zip(sounds, level, strict=True))
    peak = float(np.abs(total).max())
    return np.asarray(total / max(1.0, peak), np.float32)


def _start(video: decode.Clip, draw: float, form: Form) -> float:
    """Second of the video at which the clip begins."""
    info = video.info
    info.require(video=True, audio=True)
    if info.duration < form.seconds - 1:
        raise DataError(f"{video.path} lasts {info.duration:.2f} s; a clip lasts {form.seconds:g} s.")
    return draw * max(0.0, info.duration - form.seconds)


def _sound(video: decode.Clip, start: float, form: Form) -> NDArray[np.float32]:
    wave = decode.read_waveform(video)[round(start * SAMPLE_RATE) :]
    return decode.pad_or_trim(wave, round(form.seconds * SAMPLE_RATE)).numpy()


def _frames(clip: Planned, videos: list[decode.Clip], starts: list[float], form: Form) -> Iterator[NDArray[np.uint8]]:
    """Frames (H, W, 3); of a stitched clip the first video on the left half, the second on the right."""
    shown = videos if clip.kind == "stitched" else videos[:1]
    size = form.side, form.side // len(shown)
    halves = [
        decode.iter_frames_at(video, [start + k / form.fps for k in range(form.frames)], size)
        for video, start in zip(shown, starts, strict=False)
    ]
    for pictures in zip(*halves, strict=True):
        yield np.concatenate(pictures, 1)


def _check_same(path: Path, facts: dict[str, object]) -> None:
    if not path.is_file():
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is no JSON ({error.msg}). Move it away, or choose another --out.") from error
    for key in ("name", "fps", "size", "seconds"):
        if old.get(key, facts[key]) != facts[key]:
            raise DataError(f"{path} is of {key} {old[key]}, and {facts[key]} was asked for. Choose another --out.")
