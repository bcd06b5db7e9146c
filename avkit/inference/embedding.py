# SPDX-License-Identifier: Apache-2.0
"""What an index holds of a video: masks and captions of a run, and vectors of regions, frames and sound."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.answers import Caption, Mask
from avkit.batch import SAMPLE_RATE, Batch, Item
from avkit.collate import collate
from avkit.inference.clip_result import ClipResult
from avkit.inference.index import IndexedVideo, join_windows
from avkit.inference.predictor import Predictor
from avkit.media.decode import open_clip, pad_or_trim, read_waveform
from avkit.nn.region_crop import cut_out

#: Height and width of stored masks, in cells.
MASK_SIZE = 64


def index_video(predictor: Predictor, path: Path | str, silent_ok: bool = False) -> IndexedVideo:
    """All that an index holds of a video.

    Args:
        predictor: A run with a task that answers with masks and captions, such as `ra_ssu`.
        path: Any video.
        silent_ok: Use silence where the video has no sound.

    Raises:
        MediaError: If the file cannot be read.
        ValueError: If the run has no such task, or gives masks or captions alone.
    """
    task = indexing_task(predictor)
    media = open_clip(path)
    windows = []
    for start, clip, item in predictor.iter_windows(media, [task], None, silent_ok):
        result = predictor.predict_clip(clip, [task], media, item=item)
        windows.append(index_result(predictor, result, start, item))
    return join_windows(str(path), windows)


def indexing_task(predictor: Predictor) -> str:
    """The task whose masks and captions an index holds.

    Raises:
        ValueError: If the run has none.
    """
    tasks = predictor.tasks_with(Mask, Caption)
    if not tasks:
        raise ValueError(
            f"Run {predictor.source} has no task that answers with masks and captions, which an index is built of; it "
            f"has {', '.join(predictor.tasks)}. Use a run with task ra_ssu."
        )
    return tasks[0]


def index_result(
    predictor: Predictor, result: ClipResult, start: float = 0.0, item: Item | None = None
) -> IndexedVideo:
    """What an index holds of steps that were predicted.

    Args:
        predictor: The run.
        result: What it answered.
        start: Seconds from the start of the video to the first of the steps.
        item: What the run's model read, where that is not pictures and sound alone.

    Raises:
        ValueError: If the result has no masks or no captions.
    """
    mask = result.first(Mask)
    caption = result.first(Caption)
    if mask is None or caption is None:
        raise ValueError(f"Run {predictor.source} makes masks or captions alone; an index needs both.")
    assert result.frames is not None
    frames = torch.from_numpy(result.frames)
    masks = torch.from_numpy(mask.maps)
    with torch.inference_mode():
        regions = cut_out(frames.to(predictor.device), masks.to(predictor.device), hard=True)
        vectors = {
            "region": embed_frames(predictor, regions),
            "frame": embed_frames(predictor, frames),
            "sound": _encode_sound(predictor, result, item),
        }
        small = F.interpolate(masks[:, None], (MASK_SIZE, MASK_SIZE), mode="bilinear", align_corners=False)
    spans = torch.tensor([result.span(step) for step in range(result.steps)]) + start
    return IndexedVideo(
        str(result.source),
        spans[:, 0],
        spans[:, 1],
        list(caption.texts),
        (small[:, 0] > 0.5).to(torch.uint8),
        vectors,
    )


@torch.inference_mode()
def embed_frames(predictor: Predictor, frames: Tensor) -> Tensor:
    """Vectors of frames, float32 (N, width): of the run's encoder of regions, of pictures, or of its stored features.

    Args:
        predictor: The run.
        frames: uint8, or float in [0, 1], (N, 3, H, W).

    Raises:
        ValueError: If the run reads stored visual features of several pictures at once.
    """
    task = indexing_task(predictor)
    encoder = predictor.model.system.region_encoder(task)
    if encoder is None and task in predictor.stored:
        encoder = predictor.stored[task].extractor.picture_encoder
    if encoder is None:
        raise ValueError(
            f"Run {predictor.source} reads features of windows of pictures, and a region of one picture has none. "
            "Index with a run on pictures, or on features of single pictures such as those of recipe av_unified."
        )
    return encoder(frames.to(predictor.device)).frame.float().cpu()


@torch.inference_mode()
def embed_audio(predictor: Predictor, path: Path | str) -> dict[str, Tensor]:
    """Vectors of a sound file or of a video's sound, to search with: `sound`, float32 (N, width).

    Raises:
        MediaError: If the file has no sound or cannot be read.
        AvkitError: If the run reads stored audio features, and their encoder lacks a library or weights.
    """
    task = indexing_task(predictor)
    if task in predictor.stored and predictor.stored[task].plan.audio:
        return {"sound": _embed_features(predictor, path, predictor.stored[task].read_sound(path))}
    waveform = read_waveform(path)
    hop = predictor.hops.of([task])
    steps = max(1, round(len(waveform) / SAMPLE_RATE / hop))
    batch = Batch(
        task="",
        id=[str(path)],
        duration=torch.tensor([steps * hop]),
        hop=hop,
        valid=torch.ones(1, steps, dtype=torch.bool),
        waveform=pad_or_trim(waveform, round(steps * hop * SAMPLE_RATE))[None],
    )
    audio = predictor.model.system.encode_audio(batch.to(predictor.device))
    return {"sound": audio[0].float().cpu()}


def _embed_features(predictor: Predictor, path: Path | str, features: Tensor) -> Tensor:
    """Vectors of stored features of sound (T, Da), float32 (T, width)."""
    batch = Batch(
        task="",
        id=[str(path)],
        duration=torch.tensor([float(len(features))]),
        hop=1.0,
        valid=torch.ones(1, len(features), dtype=torch.bool),
        audio=features[None],
    )
    audio = predictor.model.system.encode_audio(batch.to(predictor.device))
    return audio[0].float().cpu()


def _encode_sound(predictor: Predictor, result: ClipResult, item: Item | None) -> Tensor:
    """Audio features of a result's clip, float32 (T, width)."""
    if item is None:
        assert result.frames is not None
        assert result.waveform is not None
        frames = torch.from_numpy(result.frames)
        item = Item("clip", result.duration, result.hop, frames, torch.from_numpy(result.waveform))
    audio = predictor.model.system.encode_audio(collate([item], "").to(predictor.device))
    return audio[0].float().cpu()
