# SPDX-License-Identifier: Apache-2.0
"""Making planned clips: ten seconds, 30 frames per second, 512 x 512, with sound; and the lists that readers take.

The same plan gives the same lists, the same `audio.wav` byte for byte, and the same frames before they are encoded.
Encoding is FFmpeg's, whose fast paths depend on where memory happens to lie: some pixels may differ by a step or two of
256.
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
from avkit.corpora.plan import SPLITS, CorpusPlan, PlannedClip
from avkit.errors import AvkitError, DataError
from avkit.files import write_file
from avkit.media import decode
from avkit.media.write import write_wave
from avkit.reading.text import parse_json, read_text

#: Loudness (root mean square) below which a sound counts as silent and is not amplified.
_SILENCE = 1e-4


@dataclass(frozen=True)
class ClipFormat:
    """Length and picture of all clips of a corpus.

    Attributes:
        seconds: Length in seconds.
        fps: Frames per second.
        side: Height and width in pixels.
    """

    seconds: float = 10.0
    fps: int = 30
    side: int = 512

    @property
    def frames(self) -> int:
        """Number of frames of a clip."""
        return round(self.seconds * self.fps)


@dataclass
class BuildSummary:
    """What was made.

    Attributes:
        new: Number of clips made in this run.
        done: Number of clips that exist.
        failed: Clips that could not be made, with the reason.
    """

    new: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def read_rejected(out: Path) -> dict[str, str]:
    """Split by clip of those whose sound and picture do not match, as `avkit annotate` notes them in `rejected.txt`."""
    path = out / "rejected.txt"
    if not path.is_file():
        return {}
    rejected = {}
    for line in read_text(path).splitlines():
        split, _, name = line.strip().partition(" ")
        if name and split in SPLITS:
            rejected[name] = split
    return rejected


def is_complete(out: Path, clip: PlannedClip) -> bool:
    """Whether a clip exists: its `meta.json`, which is written last, is there."""
    return (out / "clips" / clip.name / "meta.json").is_file()


def build_clips(
    plan: CorpusPlan,
    name: str,
    out: Path,
    form: ClipFormat,
    workers: int = 2,
    on_clip: Callable[[str], None] | None = None,
) -> BuildSummary:
    """Make the clips that do not exist yet, and the lists of splits.

    Args:
        plan: What to make.
        name: Name of the dataset.
        out: Its folder.
        form: Length and picture of clips.
        workers: Number of clips that are made at the same time.
        on_clip: Called with the name of each clip of this run, made or failed.

    Raises:
        DataError: If the folder holds clips of another format or dataset.
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
    summary = BuildSummary()
    remaining = [clip for clip in plan.clips if not is_complete(out, clip)]
    for clip, fault in zip(remaining, _make_clips(remaining, out, form, workers), strict=True):
        if fault:
            summary.failed[clip.name] = fault
        else:
            summary.new += 1
        if on_clip is not None:
            on_clip(clip.name)
    complete = [clip for clip in plan.clips if clip.name not in summary.failed]
    summary.done = len(complete)
    rejected = read_rejected(out)
    complete = [clip for clip in complete if clip.name not in rejected]
    for split in SPLITS:
        lines = [f"{clip.name}\n" for clip in complete if clip.split == split]
        write_file(out / "splits" / f"{split}.txt", "".join(lines))
    return summary


def _make_clips(clips: list[PlannedClip], out: Path, form: ClipFormat, workers: int) -> Iterator[str]:
    """Make clips; yields what is wrong with each, the empty string where nothing is."""
    with ThreadPoolExecutor(max(1, workers)) as pool:  # FFmpeg works outside of Python's lock
        yield from pool.map(partial(_try_clip, out=out, form=form), clips)


def _try_clip(clip: PlannedClip, out: Path, form: ClipFormat) -> str:
    try:
        make_clip(clip, out, form)
    except AvkitError as error:
        return str(error)
    return ""


def make_clip(clip: PlannedClip, out: Path, form: ClipFormat) -> None:
    """Write one clip: sound, video with the sound, and last its facts.

    Args:
        clip: What to make.
        out: Folder of the dataset.
        form: Length and picture of the clip.

    Raises:
        MediaError: If a video cannot be read or has no sound.
        DataError: If a video is shorter than a clip by more than a second.
    """
    folder = out / "clips" / clip.name
    videos = [decode.open_clip(part.path) for part in clip.parts]
    starts = [_start_of(video, clip, form) for video in videos]
    waveforms = [_read_sound(video, start, form) for video, start in zip(videos, starts, strict=True)]
    write_wave(folder / "audio.wav", mix(waveforms))
    frames = _iter_frames(clip.kind, videos, starts, form)
    decode.write_video(folder / "video.mp4", frames, form.fps, folder / "audio.wav")
    meta = {
        "id": clip.name,
        "kind": clip.kind,
        "num_frames": form.frames,
        "sources": [{"source": k, "label": label} for k, label in enumerate(clip.labels, 1)],
        "origin": [part.name for part in clip.parts],
        "starts": [round(start, 3) for start in starts],
    }
    write_file(folder / "meta.json", json.dumps(meta))


def mix(waveforms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Mix sounds at equal loudness, no louder than full scale; a single one stays as it is.

    Args:
        waveforms: Sounds of equal length, each (samples,), in [-1, 1].

    Returns:
        The mixed sound, (samples,), in [-1, 1].
    """
    if len(waveforms) == 1:
        return waveforms[0]
    loudness = [float(np.sqrt(np.mean(waveform**2))) for waveform in waveforms]
    target = max(loudness)
    total: NDArray[np.float32] | int = 0
    for waveform, level in zip(waveforms, loudness, strict=True):
        total = total + waveform * (target / level if level > _SILENCE else 1.0)
    peak = float(np.abs(total).max())
    return np.asarray(total / max(1.0, peak), np.float32)


def _start_of(video: decode.Clip, clip: PlannedClip, form: ClipFormat) -> float:
    """Second of the video at which the clip begins."""
    video.info.require(video=True, audio=True)
    duration = video.info.duration
    if duration < form.seconds - 1:
        raise DataError(f"{video.path} lasts {duration:.2f} s; a clip lasts {form.seconds:g} s.")
    window = duration / clip.windows
    return clip.window * window + clip.position * max(0.0, window - form.seconds)


def _read_sound(video: decode.Clip, start: float, form: ClipFormat) -> NDArray[np.float32]:
    waveform = decode.read_waveform(video)[round(start * SAMPLE_RATE) :]
    return decode.pad_or_trim(waveform, round(form.seconds * SAMPLE_RATE)).numpy()


def _iter_frames(
    kind: str, videos: list[decode.Clip], starts: list[float], form: ClipFormat
) -> Iterator[NDArray[np.uint8]]:
    """Frames (H, W, 3); of a stitched clip the first video on the left half, the second on the right."""
    visible = videos if kind == "stitched" else videos[:1]
    size = (form.side, form.side // len(visible))
    halves = []
    for video, start in zip(visible, starts, strict=False):
        times = [start + k / form.fps for k in range(form.frames)]
        halves.append(decode.iter_frames_at(video, times, size))
    for pictures in zip(*halves, strict=True):
        yield np.concatenate(pictures, 1)


def _check_same(path: Path, facts: dict[str, object]) -> None:
    """Refuse a folder whose clips are of another dataset or format."""
    if not path.is_file():
        return
    existing = parse_json(read_text(path), str(path), advice="Move it away, or choose another --out.")
    if not isinstance(existing, dict):
        raise DataError(f"{path} is no description of a dataset. Move it away, or choose another --out.")
    for key in ("name", "fps", "size", "seconds"):
        if existing.get(key, facts[key]) != facts[key]:
            raise DataError(
                f"{path} is of {key} {existing[key]}, and {facts[key]} was asked for. Choose another --out."
            )
