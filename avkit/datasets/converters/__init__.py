# SPDX-License-Identifier: Apache-2.0
"""Annotations of other tools, converted into lines of a manifest: one file per format."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.errors import DataError, unknown_name


class Format(NamedTuple):
    """A format that can be converted.

    Attributes:
        module: Module that reads it, and the function, `read` where none is named.
        suffix: How its files end, for folders of them.
        title: What it is.
    """

    module: str
    suffix: str
    title: str


FORMATS: dict[str, Format] = {
    "coco": Format("coco", ".json", "COCO: boxes, polygons, run-length masks"),
    "cvat": Format("cvat", ".xml", "CVAT for images 1.1, CVAT for video 1.1"),
    "label-studio": Format("label_studio", ".json", "Label Studio JSON"),
    "via": Format("via", ".json", "VGG Image Annotator 2, Video Annotator 3"),
    "elan": Format("elan", ".eaf", "ELAN"),
    "audacity": Format("audacity", ".txt", "Audacity labels, one file per clip"),
    "avsbench-s4": Format("avsbench:read_s4", ".csv", "AVSBench S4, by its table s4_meta_data.csv"),
    "avsbench-ms3": Format("avsbench:read_ms3", ".csv", "AVSBench MS3, by its table ms3_meta_data.csv"),
    "avsbench-avss": Format("avsbench:read_avss", ".csv", "AVSBench-semantic, by its table metadata.csv"),
    "csv": Format("table", ".csv", "a table with columns such as video, start, end, label"),
}

#: What reads one file.
Reader = Callable[[Path, MediaFolder, ImportOptions], list[ClipNotes]]


def find_reader(name: str) -> Reader:
    """The function that reads files of a format.

    Raises:
        ValueError: If the format is not known.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    module, _, function = FORMATS[name].module.partition(":")
    reader: Reader = vars(import_module(f"avkit.datasets.converters.{module}"))[function or "read"]
    return reader


def list_files(name: str, paths: list[Path]) -> list[Path]:
    """The files of a format that paths of files and folders name.

    Raises:
        DataError: If there is none.
    """
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() == FORMATS[name].suffix)
        if not inside:
            raise DataError(f"{path} has no file that ends in {FORMATS[name].suffix}. Name the files.")
        files += inside
    return files
