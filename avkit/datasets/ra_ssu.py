# SPDX-License-Identifier: Apache-2.0
"""f-Music and f-Lifescene: the region that sounds and a sentence about it, frame by frame."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, CaptionAnnotation, MaskAnnotation, SourceAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.grid import Grid
from avkit.datasets.json_records import JsonRecord
from avkit.datasets.official import Official
from avkit.datasets.tables import check_unique, read_lines, safe_id
from avkit.errors import DataError, unknown_name
from avkit.reading.remote import is_file, is_folder, list_names
from avkit.reading.text import parse_json, read_json, read_text
from avkit.text.tokenizer import unique_words

#: Kinds of clips: of one keyword, of several, with another's sound laid over, and of two side by side.
KINDS = ("single", "multi", "overlay", "stitched")


@dataclass(slots=True, kw_only=True)
class RegionAnnotation(Annotation):
    """The annotation of a clip of f-Music or f-Lifescene; masks and captions are read with its item.

    Attributes:
        fps: Frames per second, by which masks and sentences are numbered.
        kind: One of `KINDS`; empty if the clip has no `meta.json`.
    """

    fps: float
    kind: str = ""


@dataclass(frozen=True)
class Sentence:
    """A line of `captions.jsonl`.

    Attributes:
        frame: Number of the frame from which it holds.
        source: Number of the source that it is about; None for all that sounds.
        text: The sentence; empty where nothing is said any more.
    """

    frame: int
    source: int | None
    text: str


class RASSU(Official):
    """What f-Music and f-Lifescene share: our layout, since neither is public; `docs/datasets.md` describes it.

    Clips of 10 s at 30 frames per second and 512 x 512 pixels. A mask is 0 where nothing sounds and s where source s of
    `meta.json` does; a frame without a mask is not labelled. A sentence holds until the next one about the same source,
    source null being the whole mask. Steps are `hop` seconds, 1 by default; 1/30 reads every frame.

    Source:
        RA-SSU (paper), sections III and V.
    """

    source = "the authors, or make clips with 'avkit build' and annotate them"
    how_to_get = (
        "It is not published. Ask the authors of SSUFormer for clips, masks and captions; or make clips by the paper's "
        "recipe with 'avkit build' and annotate them."
    )
    marker_files = ("dataset.json",)
    fixed_steps = None
    patterns = MediaPatterns(
        frames=("clips/{media}/frames",), video=("clips/{media}/video.mp4",), audio=("clips/{media}/audio.wav",)
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips of a split in the order of its list."""
        facts = self._read_facts()
        path = self.annotation_file(f"splits/{split}.txt")
        names = [line.strip() for line in read_lines(path)]
        check_unique(names, str(path))
        annotations: list[Annotation] = []
        for k, name in enumerate(names, 1):
            annotations.append(self._read_clip(safe_id(name, str(path)), f"{path}, line {k}", facts))
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """Classes of `dataset.json`, words of the sentences in the train split."""
        texts: list[str] = []
        for annotation in self.read_annotations("train"):
            texts += [sentence.text for sentence in read_sentences(self._clip_folder(annotation.id))]
        return Vocabulary(classes=list(self._read_facts()["classes"]), words=unique_words(texts))

    def complete(self, annotation: Annotation, grid: Grid) -> Annotation:
        """The annotation with its masks and captions."""
        assert isinstance(annotation, RegionAnnotation)
        if annotation.masks is not None:
            annotation = replace(annotation, masks=self._list_masks(annotation))
        if annotation.captions is not None:
            annotation = replace(annotation, captions=self._read_captions(annotation, grid))
        return annotation

    def _clip_folder(self, name: str) -> Path:
        return self.root.path / "clips" / name

    def _read_facts(self) -> dict[str, Any]:
        path = self.annotation_file("dataset.json")
        record = JsonRecord(read_json(path), str(path), "It has name, fps and classes")
        name = record.text("name")
        classes = record.items("classes")
        if name != self.name:
            raise DataError(f"{path} is of {name!r}, and {self.name!r} was asked for.")
        if not all(isinstance(value, str) for value in classes) or not record.number("fps") > 0:
            raise DataError(f"{path}: classes are texts, and fps is greater than 0.")
        return {"name": name, "fps": record.number("fps"), "classes": classes}

    def _read_clip(self, name: str, where: str, facts: dict[str, Any]) -> RegionAnnotation:
        folder = self._clip_folder(name)
        path = folder / "meta.json"
        annotation = RegionAnnotation(id=name, where=where, root=self.root.path, fps=float(facts["fps"]))
        if not is_file(path):
            return annotation
        meta = JsonRecord(read_json(path), str(path), "A clip has kind, num_frames, and sources of source and label")
        sources = {}
        for k, values in enumerate(meta.items("sources")):
            entry = JsonRecord(values, f"{path}, source {k}", meta.form)
            sources[entry.whole("source")] = entry.text("label")
        annotation.sources = [SourceAnnotation(source=number, label=label) for number, label in sources.items()]
        annotation.duration = meta.whole("num_frames") / annotation.fps
        annotation.kind = meta.text("kind")
        if annotation.kind not in KINDS:
            raise DataError(f"{path}: {unknown_name('kind', annotation.kind, KINDS)}")
        annotation.labels = list(dict.fromkeys(sources.values()))
        for label in annotation.labels:
            if label not in facts["classes"]:
                raise DataError(f"{path}: {unknown_name('class', str(label), facts['classes'])}")
        # masks and captions are listed when an item is read: a clip may have 300 of each
        if is_folder(folder / "masks"):
            annotation.masks = []
        if is_file(folder / "captions.jsonl"):
            annotation.captions = []
        return annotation

    def _list_masks(self, annotation: RegionAnnotation) -> list[MaskAnnotation]:
        """The masks of the labelled frames."""
        folder = f"clips/{annotation.id}/masks"
        classes = {str(entry.source): entry.label for entry in annotation.sources or ()}
        masks = []
        names = [name for name in list_names(self.root.path / folder) if name.endswith(".png")]
        for path in map(Path, sorted(names)):
            if not re.fullmatch(r"\d+", path.stem):
                raise annotation.error(
                    "masks", f"{path.name!r} is not named by the number of its frame, such as 00000.png."
                )
            # a hair later than the frame, so that rounding does not put it into the step before
            time = int(path.stem) / annotation.fps + 1e-6
            masks.append(MaskAnnotation(time=time, file=f"{folder}/{path.name}", classes=classes))
        return masks

    def _read_captions(self, annotation: RegionAnnotation, grid: Grid) -> list[CaptionAnnotation]:
        """Sentences with their times: each until the next one about its source, or the end."""
        numbers = {entry.source for entry in annotation.sources or ()}
        by_source: dict[int | None, list[tuple[float, str]]] = {}
        for sentence in read_sentences(self._clip_folder(annotation.id)):
            if sentence.source is not None and sentence.source not in numbers:
                raise annotation.error("captions", f"source {sentence.source} is none of {sorted(numbers)}.")
            start = sentence.frame / annotation.fps
            by_source.setdefault(sentence.source, []).append((start, sentence.text))
        captions = []
        for source in sorted(by_source, key=_source_order):
            sentences = sorted(by_source[source])
            ends = [*(start for start, _ in sentences[1:]), grid.end]
            for (start, text), end in zip(sentences, ends, strict=True):
                if start < end and text:
                    captions.append(CaptionAnnotation(start=start, end=end, text=text, source=source))
        return captions


def _source_order(source: int | None) -> tuple[bool, int]:
    """Sort key: the whole mask before single sources."""
    return source is not None, source or 0


def read_sentences(folder: Path) -> list[Sentence]:
    """The sentences of a clip; none if its folder has no `captions.jsonl`.

    Raises:
        DataError: If a line is no sentence.
    """
    path = folder / "captions.jsonl"
    if not is_file(path):
        return []
    sentences = []
    for k, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            sentences.append(_parse_sentence(line, f"{path}, line {k}"))
    return sentences


def _parse_sentence(line: str, where: str) -> Sentence:
    record = JsonRecord(parse_json(line, where), where, "A sentence has frame, source and text")
    source = None if record.values.get("source") is None else record.whole("source")
    return Sentence(record.whole("frame"), source, record.text("text"))


class FMusic(RASSU):
    """f-Music: 3,976 clips of 22 types of musical scenes, 75 / 10 / 15 % for train, val and test (paper)."""

    name = "f-music"
    title = "f-Music"


class FLifescene(RASSU):
    """f-Lifescene: 6,156 clips of 61 types of everyday scenes, 70 / 15 / 15 % for train, val and test (paper)."""

    name = "f-lifescene"
    title = "f-Lifescene"
