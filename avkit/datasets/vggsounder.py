# SPDX-License-Identifier: Apache-2.0
"""VGGSounder: which of 309 classes are heard, seen or both in clips of VGGSound; for the test alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, EventAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import AbsentError, Official
from avkit.datasets.tables import read_rows, safe_id
from avkit.errors import DataError, unknown_name

#: Seconds of a clip.
SECONDS = 10.0
#: Classes in the official list.
CLASS_COUNT = 309
_CLASSES = "classes.csv"
_FILES = {
    "1.0": "vggsounder.csv",
    "1.0-music": "vggsounder+background-music.csv",
    "0.1.6": "vggsounder_0.1.6.csv",
    "0.1.6-music": "vggsounder+background-music_0.1.6.csv",
}
_COLUMNS = ["video_id", "label", "modality", "background_music", "static_image", "voice_over"]
#: Modality of a label in the tables, and what it is called here.
_MODALITIES: dict[str, Literal["audio", "visual", "both"]] = {"A": "audio", "V": "visual", "AV": "both"}


class VGGSounder(Official):
    """VGGSounder: 12,014 clips of 10 s from VGGSound's test set, 309 classes; each label is heard, seen or both.

    A label holds for the whole clip, so a clip is one step of 10 s, whose picture is that of its middle: scores of
    segments and of events are scores of clips. Releases: `1.0` and `0.1.6` without clips with background music, as the
    authors' code leaves them out by default, and `1.0-music` and `0.1.6-music` with them (15,069 and 15,339).

    Source:
        Zverev et al., VGGSounder: Audio-visual evaluations for foundation models, ICCV 2025; tables of
        Bizilizi/VGGSounder at commit 5a91bf68, which are those of the package `vggsounder` 1.0 on PyPI.
    """

    name = "vggsounder"
    title = "VGGSounder"
    source = (
        f"{_FILES['1.0']} and {_CLASSES} from Bizilizi/VGGSounder (vggsounder/data/), or pip install vggsounder; "
        "videos of VGGSound's test set"
    )
    marker_files = (_FILES["1.0"], _FILES["1.0-music"])
    splits = ("test",)
    releases = ("1.0", "1.0-music", "0.1.6", "0.1.6-music")
    counts = {  # noqa: RUF012
        "1.0": {"test": 12_014},
        "1.0-music": {"test": 15_069},
        "0.1.6": {"test": 12_372},
        "0.1.6-music": {"test": 15_339},
    }
    how_to_get = (
        "Put the videos of VGGSound's test set into 'video' under the root, named as in the table, such as "
        "--i-y1v8Hy8_000000.mp4 (YouTube id and first second): its authors (robots.ox.ac.uk/~vgg/data/vggsound) give "
        "the list, and mirrors of the videos are on the Hugging Face hub; ask the authors for what YouTube has lost."
    )
    fixed_steps = 1
    default_hop = SECONDS
    patterns = MediaPatterns(
        frames=("frames/{media}.jpg", "frames/{media}.png"),
        video=("video/{media}.mp4", "videos/{media}.mp4", "{media}.mp4"),
        audio=("audio/{media}.wav",),
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Clips in the order of the table."""
        path = self._table(_FILES[self.release])
        classes = set(self._class_names())
        clips: dict[str, Annotation] = {}
        for number, row in enumerate(read_rows(path, _COLUMNS), 1):
            where = f"{path}, row {number}"
            name = safe_id(row["video_id"], where)
            if name not in clips:
                clips[name] = Annotation(id=name, where=where, root=self.root.path, media=name, labels=[], events=[])
            clip = clips[name]
            event = _parse_event(row, classes, where)
            if clip.labels is None or clip.events is None or event.label in clip.labels:
                raise DataError(f"{where}: {event.label!r} is listed twice for clip {name}. Download the table again.")
            clip.labels.append(event.label)
            clip.events.append(event)
        return list(clips.values())

    def read_vocabulary(self) -> Vocabulary:
        """The classes in the authors' order."""
        return Vocabulary(classes=self._class_names())

    def _class_names(self) -> list[str]:
        path = self._table(_CLASSES)
        names = [row["display_name"] for row in read_rows(path, ["index", "display_name"])]
        if len(set(names)) != CLASS_COUNT:
            raise DataError(f"{path} names {len(set(names))} classes; VGGSounder has {CLASS_COUNT}. Download it again.")
        return names

    def _table(self, name: str) -> Path:
        """A table under the root, or in the package `vggsounder` where that is installed."""
        try:
            return self.annotation_file(name)
        except AbsentError:
            package = find_spec("vggsounder")  # does not import it
            folders = [] if package is None else package.submodule_search_locations or []
            for folder in folders:
                path = Path(folder, "data", name)
                if path.is_file():
                    return path
            raise


def _parse_event(row: dict[str, str], classes: set[str], where: str) -> EventAnnotation:
    label = row["label"]
    if label not in classes:
        raise DataError(f"{where}: {unknown_name('class of VGGSounder', label, classes)}")
    modality = row["modality"].upper()
    if modality not in _MODALITIES:
        raise DataError(f"{where}: the modality is {row['modality']!r}; A, V or AV is expected. Download it again.")
    return EventAnnotation(start=0, end=SECONDS, label=label, modality=_MODALITIES[modality])
