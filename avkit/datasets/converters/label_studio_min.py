# SPDX-License-Identifier: Apache-2.0
"""Label Studio's JSON-MIN: a task with its results by the names of controls, brought into the form of its JSON."""

from typing import Any

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.json_records import JsonRecord

#: Keys of a task's data under which its media file may be.
MEDIA_KEYS = ("video", "audio", "image")
#: Keys that Label Studio adds to the data of a task and the results.
_OWN_KEYS = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
#: Keys of a region that JSON has beside its value.
_OUTER_KEYS = ("original_width", "original_height", "image_rotation")


def expand_task(task: JsonRecord, options: ImportOptions) -> JsonRecord:
    """A task of JSON-MIN as JSON has it.

    JSON-MIN does not tell a text that was written or chosen from a text of the task's data, so that is asked.

    Raises:
        DataError: If a key holds a text of which nobody says what it is, or a result of no known form.
    """
    results = []
    data = {}
    for key, value in task.values.items():
        if key in MEDIA_KEYS:
            data[key] = value
        elif key not in _OWN_KEYS and key not in options.skip:
            for entry in value if isinstance(value, list) else [value]:
                results.append(_result(task, key, entry, options))
    if not data:
        raise field_error(task.where, "", f"has none of {', '.join(MEDIA_KEYS)}, which name the media file.")
    return JsonRecord({"data": data, "annotations": [{"result": results}]}, task.where, task.form)


def _result(task: JsonRecord, key: str, entry: Any, options: ImportOptions) -> dict[str, Any]:
    """A result as JSON has it."""
    result: dict[str, Any] = {"from_name": key}
    if isinstance(entry, dict):
        kinds = [name for name in entry if name.endswith("labels") or name == "choices"]
        if "sequence" in entry:
            kinds = ["videorectangle"]
        elif "text" in entry and not kinds:
            kinds = ["textarea"]
        if len(kinds) != 1:
            raise field_error(
                task.where, key, f"holds a result of no known form, with {', '.join(entry) or 'nothing'}."
            )
        outer = {name: entry[name] for name in _OUTER_KEYS if name in entry}
        return result | outer | {"type": kinds[0], "value": entry}
    if isinstance(entry, str) and key in options.captions:
        return result | {"type": "textarea", "value": {"text": [entry]}}
    if isinstance(entry, str) and key == options.label:
        return result | {"type": "choices", "value": {"choices": [entry]}}
    raise field_error(
        task.where,
        key,
        f"what is {str(entry)[:40]!r}? Say so with --captions {key}, --label {key} (a class of the clip) or --skip "
        f"{key}.",
    )
