# SPDX-License-Identifier: Apache-2.0
"""f-Music and f-Lifescene: the region that sounds and a sentence about it, frame by frame."""

import json
import re
from pathlib import Path
from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.tables import read_json, read_text, safe_id, unique
from avkit.datasets.targets import Grid
from avkit.errors import DataError, unknown_name
from avkit.text.tokenizer import unique_words

KINDS = ("single", "multi", "overlay", "stitched")


class RASSU(Official):
    """What f-Music and f-Lifescene share: our layout, since neither is public; `docs/datasets.md` describes it.

    Clips of 10 s at 30 frames per second and 512 x 512 pixels. A mask is 0 where nothing sounds and s where source s of
    `meta.json` does; a frame without a mask is not labelled. A sentence holds until the next one about the same source,
    source null being the whole mask. Steps are `hop` seconds, 1 by default; 1/30 reads every frame.

    Source:
        RA-SSU (paper), sections III and V.
    """

    source = "the authors, or make clips with 'avkit build' and annotate them"
    marks = ("dataset.json",)
    fixed = None
    places = Places(
        frames=("clips/{media}/frames",), video=("clips/{media}/video.mp4",), sound=("clips/{media}/audio.wav",)
    )

    def words(self, split: str) -> Vocabulary:
        """Classes of `dataset.json`, words of the sentences in the train split."""
        found = [
            caption["text"] for line in self.read("train") for caption in self._sentences(self._clip(line.data["id"]))
        ]
        return Vocabulary(classes=list(self._facts()["classes"]), words=unique_words(found))

    def read(self, split: str) -> list[Line]:
        """Clips of a split in the order of its list."""
        facts, path = self._facts(), self.file(f"splits/{split}.txt")
        names = [row.strip() for row in read_text(path).split("\n") if row.strip()]
        unique(names, str(path))
        return [self._line(safe_id(n, str(path)), f"{path}, line {k + 1}", facts) for k, n in enumerate(names)]

    def _line(self, name: str, where: str, facts: dict[str, Any]) -> Line:
        clip = self._clip(name)
        data: dict[str, Any] = {"id": name, "fps": float(facts["fps"])}
        if not (clip / "meta.json").is_file():
            return self.line(where, **data)
        meta = read_json(clip / "meta.json")
        try:
            sources = {int(s["source"]): s["label"] for s in meta["sources"]}
            data["duration"] = int(meta["num_frames"]) / data["fps"]
            kind = meta["kind"]
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{clip / 'meta.json'} lacks kind, num_frames or sources: {error!r}.") from error
        if kind not in KINDS:
            raise DataError(f"{clip / 'meta.json'}: {unknown_name('kind', str(kind), KINDS)}")
        for label in sources.values():
            if label not in facts["classes"]:
                raise DataError(f"{clip / 'meta.json'}: {unknown_name('class', str(label), facts['classes'])}")
        data |= {"sources": sources, "kind": kind, "labels": list(dict.fromkeys(sources.values()))}
        if (clip / "masks").is_dir():
            data["masks"] = []  # listed when they are read: there may be 300 of each clip
        if (clip / "captions.jsonl").is_file():
            data["captions"] = []
        return self.line(where, **data)

    def _facts(self) -> dict[str, Any]:
        path = self.file("dataset.json")
        facts = read_json(path)
        if not isinstance(facts, dict) or not {"name", "fps", "classes"} <= facts.keys():
            raise DataError(f"{path} lacks name, fps or classes.")
        if facts["name"] != self.name:
            raise DataError(f"{path} is of {facts['name']!r}, and {self.name!r} was asked for.")
        return facts

    def _clip(self, name: str) -> Path:
        return self.root.path / "clips" / name

    def _targets(self, line: Line, grid: Grid, fields: frozenset[str], unknown: frozenset[str]) -> dict[str, Any]:
        data = dict(line.data)
        if "masks" in data:
            data["masks"] = self._masks_of(line, grid)
        if "captions" in data:
            data["captions"] = self._captions_of(line, grid)
        return super()._targets(Line(line.where, data, line.root), grid, fields, unknown)

    def _masks_of(self, line: Line, grid: Grid) -> list[dict[str, Any]]:
        """The labelled frames; beyond the clip's end is a contradiction."""
        folder = f"clips/{line.data['id']}/masks"
        classes = {str(source): label for source, label in line.data["sources"].items()}
        out = []
        for path in sorted((self.root.path / folder).glob("*.png")):
            if not re.fullmatch(r"\d+", path.stem):
                raise line.fault("masks", f"{path.name!r} is not named by the number of its frame, such as 00000.png.")
            # a hair later than the frame, so that rounding does not put it into the step before
            time = int(path.stem) / line.data["fps"] + 1e-6
            out.append({"time": time, "file": f"{folder}/{path.name}", "classes": classes})
        return out

    def _captions_of(self, line: Line, grid: Grid) -> list[dict[str, Any]]:
        """Sentences with their times: each until the next one about its source, or the end."""
        fps, by_source = line.data["fps"], dict[Any, list[tuple[float, str]]]()
        for caption in self._sentences(self._clip(line.data["id"])):
            if caption["source"] is not None and caption["source"] not in line.data["sources"]:
                raise line.fault("captions", f"source {caption['source']} is none of {sorted(line.data['sources'])}.")
            by_source.setdefault(caption["source"], []).append((caption["frame"] / fps, caption["text"]))
        out = []
        for source in sorted(by_source, key=lambda s: (s is not None, s or 0)):
            told = sorted(by_source[source])
            ends = [*(start for start, _ in told[1:]), grid.end]
            out += [
                {"start": start, "end": end, "text": text}
                for (start, text), end in zip(told, ends, strict=True)
                if start < end and text
            ]
        return out

    @staticmethod
    def _sentences(clip: Path) -> list[dict[str, Any]]:
        path = clip / "captions.jsonl"
        if not path.is_file():
            return []
        out = []
        for k, row in enumerate(read_text(path).split("\n")):
            if row.strip():
                try:
                    caption = json.loads(row)
                    out.append(
                        {
                            "frame": int(caption["frame"]),
                            "source": None if caption.get("source") is None else int(caption["source"]),
                            "text": str(caption["text"]),
                        }
                    )
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(
                        f"{path}, line {k + 1}: a sentence has frame, source and text; {error!r}."
                    ) from error
        return out


class FMusic(RASSU):
    """f-Music: 3,976 clips of 22 types of musical scenes, 75 / 10 / 15 % for train, val and test (paper)."""

    name = "f-music"
    title = "f-Music"


class FLifescene(RASSU):
    """f-Lifescene: 6,156 clips of 61 types of everyday scenes, 70 / 15 / 15 % for train, val and test (paper)."""

    name = "f-lifescene"
    title = "f-Lifescene"
