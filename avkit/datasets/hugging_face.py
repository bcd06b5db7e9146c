# SPDX-License-Identifier: Apache-2.0
"""A manifest as a `datasets.Dataset` of Hugging Face, one row per clip."""

import json
from typing import TYPE_CHECKING, Any

from avkit.datasets.manifest import Manifest
from avkit.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

#: Keys of a line that are columns of their own; all others are in the column `annotation`.
COLUMNS = ("id", "video", "audio", "question", "answer")


def to_hugging_face(manifest: Manifest) -> "Dataset":
    """The lines of a manifest's split.

    Columns: `id`, `video`, `audio`, `question`, `answer` as text, None where a line has none, and `annotation`, all
    else of the line as JSON, since its values are of many forms. Paths are as in the file.

    Args:
        manifest: The manifest, of one split.

    Raises:
        DataError: If the package datasets is not installed.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise DataError("This needs the package datasets. Install it: pip install 'avkit[datasets]'.") from error
    wanted = {line.id for line in manifest.annotations}
    columns: dict[str, list[str | None]] = {name: [] for name in (*COLUMNS, "annotation")}
    for text in manifest.path.read_text(encoding="utf-8-sig").splitlines():
        if not text.strip():
            continue
        line: dict[str, Any] = json.loads(text)
        if str(line.get("id")) not in wanted:
            continue
        for name in COLUMNS:
            value = line.get(name)
            columns[name].append(None if value is None else str(value))
        rest = {name: value for name, value in line.items() if name not in COLUMNS}
        columns["annotation"].append(json.dumps(rest, ensure_ascii=False))
    return Dataset.from_dict(columns)
