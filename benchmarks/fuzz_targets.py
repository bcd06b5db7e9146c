# SPDX-License-Identifier: Apache-2.0
"""Small whole files of all kinds that avkit reads, and what reads each of them."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fuzz_scores import score_files

#: Layouts of `avkit export`, the dataset that reads each, and clips by split.
LAYOUTS = {
    "ave": "ave",
    "llp": "llp",
    "avsbench-s4": "avsbench-s4",
    "avsbench-ms3": "avsbench-ms3",
    "avsbench-avss": "avsbench-avss",
    "vggss": "vggss",
    "music-avqa": "music-avqa",
    "avqa": "avqa",
    "unav100": "unav100",
    "ref-avs": "ref-avs",
    "ra-ssu": "f-music",
    "manifest": "manifest",
}
#: Endings of annotation files.
ANNOTATIONS = (".json", ".jsonl", ".csv", ".txt", ".tsv", ".xml", ".gz", "_order.h5")
#: Side of pictures in pixels.
SIDE = 32


@dataclass(frozen=True)
class Target:
    """One file that is damaged again and again.

    Attributes:
        kind: Row of the table.
        path: The file.
        read: Reads it and what depends on it; returns a digest of what was read.
        is_sealed: Whether the file carries checksums, so that whatever is read must be what was written.
        weight: Share of the mutations.
    """

    kind: str
    path: Path
    read: Callable[[], str]
    is_sealed: bool = False
    weight: float = 1.0


def digest(*arrays: object) -> str:
    """A digest of tensors, arrays and texts."""
    value = hashlib.md5()
    for array in arrays:
        if isinstance(array, torch.Tensor):
            array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy() if array.numel() else b""
        if isinstance(array, np.ndarray):
            array = np.ascontiguousarray(array).tobytes()
        value.update(array if isinstance(array, bytes) else repr(array).encode())
    return value.hexdigest()


def make_targets(folder: Path) -> list[Target]:
    """Write all files; the same folder is used again if it has them."""
    targets = [*_annotations(folder), *_arrays(folder), *_tensors(folder), *_pictures(folder), *_media(folder)]
    return [*targets, *_run(folder), *_texts(folder), *_scores(folder)]


def _scores(folder: Path) -> Iterator[Target]:
    for kind, path, read, is_sealed in score_files(folder):
        yield Target(kind, path, read, is_sealed)


def _annotations(folder: Path) -> Iterator[Target]:
    for layout in LAYOUTS:
        yield from layout_targets(folder, layout)


def layout_targets(folder: Path, layout: str) -> Iterator[Target]:
    """Files of scenes in the layout of a dataset."""
    from avkit.datasets.pickles import read_log_mel
    from avkit.export import export

    root = folder / f"layout-{layout}"
    if not root.exists():
        export(layout, root, {"train": 2, "val": 2, "test": 2}, SIDE, 4.0, features=layout in ("ave", "llp"))
    files = [path for path in sorted(root.rglob("*")) if path.name.endswith(ANNOTATIONS)]
    with_items = layout == "ra-ssu"  # whose sentences and masks are listed with the item
    for path in files[:8]:
        yield Target(f"annotations, {layout}", path, lambda: read_dataset(LAYOUTS[layout], root, items=with_items))
    for path in sorted(root.rglob("*.png"))[:1]:
        yield Target("masks of datasets", path, lambda: read_dataset(LAYOUTS[layout], root, items=True))
    for path in sorted(root.rglob("*.pkl"))[:1]:
        yield Target("log-mel pickles", path, lambda path=path: digest(read_log_mel(path)))


def read_dataset(name: str, root: Path, *, items: bool) -> str:
    """Annotations of all splits, and their items where wanted."""
    from avkit.datasets import find_dataset
    from avkit.datasets.base import DatasetOptions

    cls = find_dataset(name)
    lengths = []
    for split in ("train", "val", "test"):
        if name == "manifest":
            options = DatasetOptions(root, manifest=next(root.glob("*.jsonl")), image_size=SIDE)
        else:
            options = DatasetOptions(root, image_size=SIDE)
        dataset = cls.open(split, options)
        for index in range(len(dataset) if items else 0):
            dataset.item(index)
        lengths.append(len(dataset))
    return repr(lengths)


def _arrays(folder: Path) -> Iterator[Target]:
    import h5py

    from avkit.extraction.progress import ExtractionProgress
    from avkit.features.base import FeatureFacts
    from avkit.features.files import RowFile, load_array
    from avkit.features.store import Store, write_store

    draw = np.random.default_rng(0)
    clips = [(f"clip{k}", draw.normal(size=(10, 16)).astype(np.float32)) for k in range(4)]
    npy = folder / "a.npy"
    np.save(npy, clips[0][1])
    yield Target("features, .npy", npy, lambda: digest(load_array(npy)), weight=2)
    ExtractionProgress(folder / "parts", ["x"]).save("x", "a", clips[0][1])
    part = folder / "parts/local/x/a.npy"
    yield Target("features, part of an extraction", part, lambda: digest(load_array(part)), is_sealed=True)
    store = write_store(folder / "store.h5", clips, FeatureFacts("x", 1.0), "float32")
    yield Target("features, store", store, lambda: _read_store(Store(store)), is_sealed=True, weight=2)
    old = folder / "old.h5"
    write_store(old, clips, FeatureFacts("x", 1.0), "float32")
    with h5py.File(old, "r+") as file:
        del file["checksums"]
    yield Target("features, store without checksums", old, lambda: _read_store(Store(old)))
    rows = folder / "rows.h5"
    with h5py.File(rows, "w") as file:
        file.create_dataset("avadataset", data=np.ones((4, 10, 8), np.float32), compression="gzip")
    yield Target("features, HDF5 by row", rows, lambda: digest(RowFile(rows, ["a", "b", "c", "d"]).read("b")))


def _read_store(store: object) -> str:
    return digest(*[store.read(name) for name in sorted(store.names)], sorted(store.names), store.facts)


def _tensors(folder: Path) -> Iterator[Target]:
    from avkit.inference.index import IndexedVideo, IndexFolder
    from avkit.reading.tensors import read_tensors, read_torch, write_tensors

    weights = {"a": torch.arange(300.0).reshape(3, 100), "b": torch.ones(7, dtype=torch.bfloat16)}
    sealed = folder / "sealed.safetensors"
    write_tensors(sealed, weights, {"avkit": "x"})

    def read(path: Path) -> str:
        _, tensors = read_tensors(path)
        return digest(*[value for name in sorted(tensors) for value in (name, tensors[name])])

    yield Target("tensors, .safetensors", sealed, lambda: read(sealed), is_sealed=True, weight=2)
    checkpoint = folder / "a.ckpt"
    torch.save({"state_dict": weights, "epoch": 3}, checkpoint)

    def read_checkpoint() -> str:
        content = read_torch(checkpoint)
        return digest(content["state_dict"]["a"], content["state_dict"]["b"], content["epoch"])

    yield Target("tensors, checkpoint", checkpoint, read_checkpoint, is_sealed=True, weight=2)
    index = IndexFolder(folder / "index")
    index.create({"run": "r", "weights": "w", "avkit": "0"})
    steps = torch.arange(3.0)
    vectors = {kind: torch.randn(3, 8, generator=torch.manual_seed(0)) for kind in ("region", "frame", "sound")}
    video = IndexedVideo("v.mp4", steps, steps + 1, ["a", "b", "c"], torch.zeros(3, 4, 4, dtype=torch.uint8), vectors)
    index.add(video)

    def read_index() -> str:
        _ = index.facts
        videos = index.read()
        return digest(videos[0].captions, videos[0].start, *videos[0].vectors.values())

    yield Target("video index", index.file_of("v.mp4"), read_index, is_sealed=True)
    yield Target("video index", folder / "index/index.json", read_index, is_sealed=True)


def _pictures(folder: Path) -> Iterator[Target]:
    from PIL import Image

    from avkit.media.image import image_size, load_image

    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for ending in ("png", "jpg", "webp", "bmp", "tiff", "avif", "gif"):
        path = folder / f"p.{ending}"
        Image.fromarray(rgb).save(path)
        yield Target(f"picture, {ending}", path, lambda path=path: digest(load_image(path), image_size(path)))
    deep = folder / "deep.png"
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(deep)
    yield Target("picture, png of 16 bits", deep, lambda: digest(load_image(deep)))


def _media(folder: Path) -> Iterator[Target]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import clips

    sound = clips.tone(2, 16_000)
    times = [k / 5 for k in range(10)]
    for ending in ("mp4", "mkv", "webm", "ts", "avi", "flv", "mov"):
        codecs = {"webm": ("libvpx", "libopus")}.get(ending, ("libx264", "aac"))
        path = folder / f"m.{ending}"
        rate = 48_000 if ending == "webm" else 16_000
        clips.write_clip(path, times, 5, sound=sound, rate=rate, codec=codecs[0], sound_codec=codecs[1])
        yield Target(f"media, {ending}", path, lambda path=path: read_media(path), weight=2)
    for ending, codec in (("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")):
        path = folder / f"s.{ending}"
        rate = 48_000 if ending == "ogg" else 16_000
        clips.write_clip(path, sound=clips.tone(2, rate), rate=rate, sound_codec=codec)
        yield Target(f"media, {ending}", path, lambda path=path: read_media(path), weight=2)


def read_media(path: Path) -> str:
    """Facts, sound and some pictures of a file."""
    from avkit.media.decode import open_clip, read_frames, read_waveform

    clip = open_clip(path)
    values: list[object] = []
    if clip.info.has_audio:
        values.append(read_waveform(clip, partial_ok=True))
    if clip.info.has_video:
        values.append(read_frames(clip, [0.1, 0.7, 1.5], size=SIDE, partial_ok=True))
    return digest(*values)


def _run(folder: Path) -> Iterator[Target]:
    runs = folder / "runs"
    if not runs.exists():
        small = "--data.steps_per_epoch 1 --data.scenes.val_size 4 --data.scenes.test_size 4 --trainer.max_epochs 1"
        command = f"-m avkit fit --tasks avs {small} --data.loader.workers 0 --data.image_size 32 --out {runs} --name r"
        subprocess.run([sys.executable, *command.split()], check=True, capture_output=True)
    run = next(runs.iterdir())

    def load() -> str:
        import avkit

        predictor = avkit.load(run, "cpu")
        return digest(*[value for _, value in sorted(predictor.model.state_dict().items())])

    for name in ("run.json", "config.yaml"):
        yield Target(f"run, {name}", run / name, load, weight=0.5)
    weights = run / "checkpoints/best.safetensors"
    yield Target("run, best.safetensors", weights, load, is_sealed=True, weight=0.5)

    def report() -> str:
        from avkit.cli.tested_runs import read_scores

        return repr(read_scores(run))

    for name in ("report.json", "history.jsonl"):
        yield Target(f"run, {name}", run / name, report, is_sealed=name == "report.json")


def _texts(folder: Path) -> Iterator[Target]:
    from avkit.answers.encoding import decode, encode
    from avkit.extraction.recipe import FOLDER, read_recipe
    from avkit.systems.tspm.prompt_constructor import PromptConstructor

    recipe = folder / "recipe.yaml"
    recipe.write_bytes((FOLDER / "av_unified.yaml").read_bytes())
    yield Target("recipe of features", recipe, lambda: repr(read_recipe(recipe)))
    prompts = folder / "prompts.csv"
    prompts.write_text("question_template,declarative_prompt\nIs the <Object> loud?,The <Object> is loud.\n")
    yield Target("prompts of TSPM", prompts, lambda: repr(PromptConstructor.load(prompts)._templates))
    answer = folder / "answer.json"
    answer.write_text(json.dumps(encode({"mask": np.zeros((2, 8, 8), np.uint8), "a": [1, 2]})))

    def read_answer() -> str:
        from avkit.reading.text import read_json

        return repr(decode(read_json(answer)))

    yield Target("answer with an array", answer, read_answer)
    failed = folder / "parts/local/failed.jsonl"
    from avkit.extraction.progress import ExtractionProgress

    progress = ExtractionProgress(folder / "parts", ["x"])
    failed.unlink(missing_ok=True)
    progress.set_aside("a", "b")
    yield Target("failures of an extraction", failed, lambda: repr(progress.failed()), weight=0.5)
