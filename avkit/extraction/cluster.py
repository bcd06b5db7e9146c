# SPDX-License-Identifier: Apache-2.0
"""Extraction over many processes and machines, as a pipeline of Ray Data: tasks decode, actors run the networks.

Ray gives tasks and actors to machines, starts again what dies, and has as many actors as there is work for. Each actor
writes a shard of its own into the folder of finished clips, which all machines must see.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from avkit.extraction.decoding import EncoderInputs, InputForm, SourceDataset
from avkit.extraction.extract import OnClip, Runner
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.progress import ExtractionProgress
from avkit.extraction.ray_passes import Cluster as Cluster
from avkit.extraction.ray_passes import Row, in_two_passes, need_ray, ray_started, share_of
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream
from avkit.extraction.sources import MediaSource
from avkit.reading.remote import whole_path

#: Clips given to a network at a time.
_CLIPS_PER_CALL = 4
#: Seconds before a clip is read again where storage failed, as that on a network does now and then.
_PAUSES = (0.5, 1.0)


class NetworkActor:
    """Encoders in a process of their own, which Ray feeds with a few decoded clips at a time.

    Args:
        streams: Streams as dictionaries.
        folder: Folder of finished clips.
        device: Where encoders run.
        batch_size: Frames or log-mel examples at a time.
    """

    def __init__(self, streams: list[dict[str, Any]], folder: str, device: str, batch_size: int) -> None:
        torch.set_num_threads(1)
        read = [FeatureStream(**stream) for stream in streams]
        shard = f"worker-{os.uname().nodename}-{os.getpid()}"
        self.extractor = FeatureExtractor(read, torch.device(device), batch_size)
        self.progress = ExtractionProgress(Path(folder), [stream.name for stream in read], shard)

    def __call__(self, rows: Row) -> Row:
        """Extract clips; returns their names, and why they cannot be read."""
        for name, error, inputs in zip(rows["name"], rows["error"], rows["inputs"], strict=True):
            if not error:
                self._save(self.extractor.feed(EncoderInputs(str(name), load(bytes(inputs)))))
        self._save(self.extractor.flush())
        return {"name": rows["name"], "error": rows["error"]}

    def _save(self, features: Iterator[Any]) -> None:
        for clip in features:
            self.progress.save(clip.stream, clip.name, clip.values)


def decode_row(row: Row, streams: Sequence[FeatureStream], forms: dict[str, InputForm], names: Sequence[str]) -> Row:
    """Decode a clip.

    Args:
        row: Its `name`, and its `source` as JSON.
        streams: All streams.
        forms: What each stream's encoder takes.
        names: The stream of each encoder whose input it reads.

    Returns:
        The `name`; the `inputs` as safetensors; `error`, why it cannot be read, or the empty string.
    """
    dataset = SourceDataset([_from_json(row["source"])], streams, forms)
    clip = dataset[0]
    for pause in _PAUSES:
        if not clip.may_pass:
            break
        time.sleep(pause)
        clip = dataset[0]
    tensors: dict[str, Tensor] = {}
    if not clip.error:
        tensors = {name: clip.inputs[name].clone(memory_format=torch.contiguous_format) for name in names}
    return {"name": row["name"], "error": clip.error, "inputs": save(tensors)}


def ray_runner(recipe: ExtractionRecipe, cluster: Cluster, batch_size: int) -> Runner:
    """Build the `runner` of `extract` that works on a Ray cluster.

    Args:
        recipe: Streams to extract.
        cluster: What is asked of the cluster.
        batch_size: Frames or log-mel examples at a time.

    Raises:
        AvkitError: If Ray is not installed.
    """
    need_ray()

    def run(
        sources: Sequence[MediaSource],
        extractor: FeatureExtractor,
        progress: ExtractionProgress,
        on_clip: OnClip | None,
    ) -> None:
        if not sources:
            return
        by_name = {source.name: source for source in sources}

        def on_row(row: Row) -> None:
            if row["error"]:
                progress.set_aside(row["name"], row["error"])
            if on_clip is not None:
                on_clip(row["name"], row["error"])

        with ray_started(cluster):
            pipeline = Pipeline(recipe, cluster, extractor, progress.folder, batch_size)
            in_two_passes(
                list(by_name), lambda names, count: pipeline.rows([by_name[name] for name in names], count), on_row
            )

    return run


class Pipeline:
    """Clips from files to finished features on a cluster.

    Args:
        recipe: Streams to extract.
        cluster: What is asked of the cluster.
        extractor: Tells what encoders take.
        folder: Folder of finished clips.
        batch_size: Frames or log-mel examples at a time.

    Raises:
        ValueError: If a GPU is asked for and the cluster has none.
    """

    def __init__(
        self, recipe: ExtractionRecipe, cluster: Cluster, extractor: FeatureExtractor, folder: Path, batch_size: int
    ) -> None:
        self.share = share_of(cluster)
        self.streams = recipe.media_streams
        self.forms = extractor.input_forms()
        self.inputs = [group.streams[0].name for group in extractor.groups]
        self.actor = ([asdict(stream) for stream in self.streams], str(folder.resolve()), self.share.device, batch_size)
        self.workers = cluster.workers

    def rows(self, sources: Sequence[MediaSource], clips_per_task: int) -> Iterator[Row]:
        """`name` and `error` of each clip that is done, as it is done."""
        import ray.data

        if not sources:
            return
        items = [{"name": source.name, "source": _to_json(source)} for source in sources]
        decode = partial(decode_row, streams=self.streams, forms=self.forms, names=self.inputs)
        clips = ray.data.from_items(items, override_num_blocks=-(-len(items) // clips_per_task))
        features = clips.map(decode, num_cpus=1).map_batches(
            NetworkActor,
            fn_constructor_args=self.actor,
            batch_size=_CLIPS_PER_CALL if clips_per_task > 1 else 1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),
            num_gpus=self.share.gpus,
            num_cpus=self.share.cpus,
        )
        yield from features.iter_rows()


def _to_json(source: MediaSource) -> str:
    return json.dumps(asdict(source) | {"root": whole_path(source.root)})


def _from_json(text: str) -> MediaSource:
    values = json.loads(text)
    return MediaSource(**values | {"root": Path(values["root"])})
