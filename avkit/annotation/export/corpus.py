# SPDX-License-Identifier: Apache-2.0
"""Masks and sentences in the folders of clips that `avkit build` made, as `avkit.datasets.ra_ssu` reads them."""

import json
import shutil
from pathlib import Path
from typing import Any

from avkit.annotation.export import Exported, ExportOptions
from avkit.annotation.export.parts import is_own, note_own, object_map, source_texts
from avkit.annotation.folder import Corpus, Folder
from avkit.annotation.labels import ClipLabels
from avkit.corpora.plan import SPLITS
from avkit.errors import DataError, count_of
from avkit.files import cannot_write, temporary_folder, write_file
from avkit.reading.text import read_json


def write_corpus(folder: Folder, clips: list[ClipLabels], options: ExportOptions) -> Exported:
    """Write `masks/*.png`, `captions.jsonl` and the sources of `meta.json` of each clip.

    Raises:
        DataError: If an object has a name that the dataset has not, or a clip has labels of something else; then
            nothing is written.
    """
    assert folder.corpus is not None
    for labels in clips:
        _check(folder, folder.corpus, labels, overwrite=options.overwrite)
    for labels in clips:
        _write_clip(folder, folder.corpus, labels)
    rejected = _write_lists(folder)
    notes = [f"{count_of(rejected, 'clip')} in rejected.txt, and in no list of a split"] if rejected else []
    check = f"check it: avkit check {folder.corpus.name} --root {folder.root}"
    return Exported(folder.root, len(clips), [*notes, check])


def _write_lists(folder: Folder) -> int:
    """Leave clips whose sound and picture do not match out of the lists of splits, and note them; says how many.

    The note comes first: a clip that is in both counts as rejected where `avkit build` writes the lists again.
    """
    rejected = []
    kept: dict[str, list[str]] = {split: [] for split in SPLITS}
    for clip in folder.clips.values():
        facts = [item.value for item in folder.store.items(clip.number, brief=True) if item.key.kind == "clip"]
        if any(value is not None and value["match"] == "no" for value in facts):
            rejected.append(f"{clip.split} {clip.name}\n")
        else:
            kept[clip.split].append(f"{clip.name}\n")
    if rejected or (folder.root / "rejected.txt").exists():
        write_file(folder.root / "rejected.txt", "".join(rejected))
        for split, names in kept.items():
            write_file(folder.root / "splits" / f"{split}.txt", "".join(names))
    return len(rejected)


def _check(folder: Folder, corpus: Corpus, labels: ClipLabels, *, overwrite: bool) -> None:
    for entry in labels.objects:
        if entry.name not in corpus.classes:
            raise DataError(
                f"{labels.clip.name}: the object {entry.name!r} is none of the classes of {corpus.name}: "
                f"{', '.join(corpus.classes)}. Rename it, or write a manifest with -o FILE.jsonl."
            )
    captions = labels.clip.path.parent / "captions.jsonl"
    if captions.exists() and not overwrite and not is_own(folder, captions):
        raise DataError(
            f"{captions} was not exported from here. Pass --overwrite to replace it and the masks beside it."
        )


def _write_clip(folder: Folder, corpus: Corpus, labels: ClipLabels) -> None:
    """Write one clip; its masks change places with those of before when all are written."""
    from PIL import Image

    place = labels.clip.path.parent
    masks = place / "masks"
    stage = temporary_folder(masks)
    try:
        (stage / "new").mkdir()
        for step in labels.known_steps():
            frame = int((step + 0.5) * labels.hop * corpus.fps + 1e-6)
            Image.fromarray(object_map(labels, step)).save(stage / "new" / f"{frame:05d}.png")
        if masks.exists():
            masks.rename(stage / "old")
        (stage / "new").rename(masks)
    except OSError as error:
        if (stage / "old").exists() and not masks.exists():
            (stage / "old").rename(masks)
        raise cannot_write(masks, error) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    lines = [json.dumps(sentence, ensure_ascii=False) for sentence in _sentences(corpus, labels)]
    write_file(place / "captions.jsonl", "".join(f"{line}\n" for line in lines))
    _write_sources(place / "meta.json", labels)
    note_own(folder, place / "captions.jsonl")


def _sentences(corpus: Corpus, labels: ClipLabels) -> list[dict[str, Any]]:
    """Sentences by the frame from which they hold; empty ones end them where an object falls silent."""
    sentences = []
    for source, texts in source_texts(labels):
        before = ""
        for step, text in enumerate(texts):
            if text != before:
                frame = round(step * labels.hop * corpus.fps)
                sentences.append({"frame": frame, "source": source, "text": text})
            before = text
    return sentences


def _write_sources(path: Path, labels: ClipLabels) -> None:
    meta = read_json(path) if path.is_file() else {}
    if not isinstance(meta, dict):
        raise DataError(f"{path} is no description of a clip. Run avkit build again.")
    meta["sources"] = [{"source": entry.number, "label": entry.name} for entry in labels.objects]
    write_file(path, json.dumps(meta))
