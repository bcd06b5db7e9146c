# SPDX-License-Identifier: Apache-2.0
"""Pictures and sound of clips, from videos, pictures and audio files."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.datasets.annotations import Annotation
from avkit.datasets.grid import Grid
from avkit.datasets.inputs import ClipInputs, ReadOptions
from avkit.media import decode, image_files

#: Seconds by which a clip may be shorter than the benchmark says before that is an error: codecs end in whole frames.
_SHORTFALL = 1.0


class MediaReader:
    """Reads pictures and sound from media files.

    Pictures are squeezed to a square, as the official code of AVSBench does, one per step.

    Args:
        options: How clips are read.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options

    def read(self, annotation: Annotation, grid: Grid | None, *, frames: bool, audio: bool) -> ClipInputs:
        """Read a clip.

        Args:
            annotation: Where its media are.
            grid: Its steps; None to follow the dataset or the file.
            frames: Whether pictures are wanted.
            audio: Whether sound is wanted.

        Raises:
            MediaError: If a media file cannot be read.
            DataError: If a file is shorter than its labels, or does not hold the annotated part.
        """
        if annotation.frames is not None or (not frames and _is_sound_file(annotation)):
            return self._read_image_files(annotation, annotation.frames or [], grid, frames=frames, audio=audio)
        path = annotation.root / (annotation.video or annotation.picture or "")
        audio_path = None if annotation.audio is None else annotation.root / annotation.audio
        clip = decode.open_clip(path, audio_path)
        if audio and audio_path is not None and not clip.info.is_image:
            self._check_sound_length(annotation, clip)
        if annotation.start is None and annotation.end is None:
            decoded = self._read_whole(annotation, clip, grid, frames=frames)
        else:
            decoded = self._read_part(annotation, clip)
        duration = self._duration(annotation)
        if duration is None:
            duration = decoded.duration
        return ClipInputs(
            Grid(decoded.steps, decoded.hop, duration, size=decoded.source_size),
            frames=decoded.frames if frames else None,
            waveform=decoded.waveform if audio else None,
        )

    def _duration(self, annotation: Annotation) -> float | None:
        """Seconds of a clip, where the dataset or the official file gives them."""
        steps = self.options.steps_of(annotation)
        return annotation.duration if steps is None else steps * self.options.hop

    def _read_whole(
        self, annotation: Annotation, clip: decode.Clip, grid: Grid | None, *, frames: bool
    ) -> decode.DecodedClip:
        """A whole file."""
        options = self.options
        decoded = decode.read_clip(
            clip,
            options.hop if grid is None else grid.hop,
            options.image_size,
            silent_ok=options.silent_ok,
            steps=options.steps_of(annotation) if grid is None else grid.steps,
            offset=options.frame_offset,
            decode_frames=frames,
        )
        self._check_length(annotation, decoded.duration)
        return decoded

    def _read_part(self, annotation: Annotation, clip: decode.Clip) -> decode.DecodedClip:
        """The part of a file from `start` to `end`."""
        hop = self.options.hop
        length = clip.duration
        start = 0 if annotation.start is None else annotation.start
        end = length if annotation.end is None else annotation.end
        if start >= length or end > length + hop / 2:
            raise annotation.error(
                "start" if start >= length else "end",
                f"the file lasts {length:.2f} s; give a span within it, not {start} to {end} s.",
            )
        duration = float(min(end, length) - start)
        times = [start + time for time in decode.step_times(duration, hop)]
        # one step as long as all that is wanted: sound of exactly that length, silent where there is none
        until = start + len(times) * hop
        whole = decode.read_clip(clip, until, silent_ok=self.options.silent_ok, steps=1, decode_frames=False)
        return replace(
            whole,
            frames=decode.read_frames(clip, times, size=self.options.image_size),
            waveform=whole.waveform[-round(len(times) * hop * SAMPLE_RATE) :].clone(),
            duration=duration,
            hop=hop,
        )

    def _read_image_files(
        self, annotation: Annotation, paths: str | list[str], grid: Grid | None, *, frames: bool, audio: bool
    ) -> ClipInputs:
        """Pictures that are files, and the sound beside them."""
        waveform = None
        if audio or (grid is None and self.options.steps_of(annotation) is None):
            waveform = self._read_waveform(annotation)
        if grid is None:
            grid = self._audio_grid(annotation, waveform)
        inputs = ClipInputs(replace(grid, size=None))
        if frames:
            files = image_files.list_image_files(annotation.root, paths)
            options = self.options
            inputs.frames, size = image_files.read_image_files(
                files, grid.steps, options.image_size, options.frame_offset
            )
            inputs.grid = replace(grid, size=size)
        if audio and waveform is not None:
            inputs.waveform = decode.pad_or_trim(waveform, round(grid.steps * grid.hop * SAMPLE_RATE))
        return inputs

    def _read_waveform(self, annotation: Annotation) -> Tensor:
        """The sound that belongs to picture files, as long as its file is, or as its clip if it is centred."""
        options = self.options
        waveform = decode.read_waveform(annotation.root / (annotation.audio or annotation.video or ""))
        steps = options.steps_of(annotation)
        if options.centred_audio and steps:
            waveform = crop_middle(waveform, round(steps * options.hop * SAMPLE_RATE))
        self._check_length(annotation, len(waveform) / SAMPLE_RATE)
        return waveform

    def _audio_grid(self, annotation: Annotation, waveform: Tensor | None) -> Grid:
        """The steps of a clip whose pictures are files: as the dataset fixes them, or as long as the sound."""
        hop = self.options.hop
        steps = self.options.steps_of(annotation)
        if steps is not None:
            return Grid(steps, hop, steps * hop)
        assert waveform is not None
        duration = len(waveform) / SAMPLE_RATE
        return Grid(decode.count_steps(duration, hop), hop, duration)

    def _check_sound_length(self, annotation: Annotation, clip: decode.Clip) -> None:
        """Refuse a sound file that ends well before the video that it belongs to."""
        sound = clip.audio_info.duration
        wanted = min(clip.info.duration, self._duration(annotation) or clip.info.duration)
        if annotation.end is not None:
            wanted = min(wanted, annotation.end)
        if not self.options.short_ok and sound < max(wanted - _SHORTFALL, wanted / 2):
            raise annotation.error(
                "audio",
                f"the sound {annotation.audio!r} lasts {sound:.2f} s and its video {clip.info.duration:.2f} s. "
                "Export it again, or use silence for the rest with --data.allow_missing true (allow_missing=True in "
                "Python).",
            )

    def _check_length(self, annotation: Annotation, duration: float) -> None:
        """Refuse a file that is much shorter than its clip should be."""
        expected = self._duration(annotation) or 0
        name = Path(annotation.audio or annotation.video or annotation.picture or "").name
        if not self.options.short_ok and duration < expected - _SHORTFALL:
            raise annotation.error(
                "",
                f"its file {name} lasts {duration:.2f} s and its labels {expected:g} s. Download it again, or hold its "
                "last picture as the official code does with --data.allow_missing true (allow_missing=True in Python).",
            )


def _is_sound_file(annotation: Annotation) -> bool:
    """Whether a clip has a sound file and no pictures, for which stored features then stand."""
    pictures = annotation.video or annotation.picture
    whole = annotation.start is None and annotation.end is None
    return pictures is None and annotation.audio is not None and whole


def crop_middle(waveform: Tensor, samples: int) -> Tensor:
    """The middle of a waveform (n,), at most `samples` long; a shorter waveform is repeated first."""
    if 0 < len(waveform) < samples:
        repeats = -(-samples // len(waveform))
        waveform = waveform.repeat(repeats)
    start = max(0, (len(waveform) - samples) // 2)
    return waveform[start : start + samples]
