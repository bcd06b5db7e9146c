# SPDX-License-Identifier: Apache-2.0
"""Old names of options; the error for an old name gives the new one.

A renamed option gets a line in one of the tables below.
"""

from collections.abc import Iterator, Mapping, Sequence

from avkit.cli.given_options import GivenOption, given_options, last_value

#: Options of `avkit fit`, `validate` and `test`, in config files too: old name to new name.
FIT_OPTIONS: dict[str, str] = {
    "data.picture": "data.image_size",
    "data.batch_size": "data.batch_size.trimmed",
    "data.whole_batch": "data.batch_size.whole",
    "data.long_batch": "data.batch_size.untrimmed",
    "data.crop": "data.crop.trimmed",
    "data.window": "data.crop.untrimmed",
    "data.shrink": "data.crop.min_share",
    "data.train_size": "data.scenes.train_size",
    "data.val_size": "data.scenes.val_size",
    "data.test_size": "data.scenes.test_size",
    "data.visual": "data.features.visual",
    "data.audio": "data.features.audio",
    "data.expert": "data.features.expert",
    "data.workers": "data.loader.workers",
}
#: Values of options of `avkit fit`, `validate` and `test`: old value to new value, by option.
FIT_VALUES: dict[str, dict[str, str]] = {"data.mix": {"need": "sampling_weight"}}
#: Options of single systems, by the name of the system: old name to new name, without `model.system.`.
SYSTEM_OPTIONS: dict[str, dict[str, str]] = {
    "av_unified": {"apart": "unimodal_share"},
    "avel": {"compared": "attention_width"},
    "psp": {"compared": "attention_width"},
    "ccnet": {"blind": "mask_gates (with the opposite value)"},
    "unav": {"places": "positions"},
    "avsegformer": {"sound_layers": "audio_layers", "sound_inner": "audio_inner"},
    "tpavi": {"sound_bias": "audio_bias"},
    "tspm": {"meeting": "cross_modal"},
    "ssuformer": {
        "integration": "integration_layers",
        "share_proj": "share_projections",
        "reach": "temporal_radius",
        "places": "pooled_grid",
        "a": "mask_weight",
        "a_floor": "min_weight",
        "most": "max_pieces",
        "steady": "caption_change_threshold",
        "expert": "expert_width",
    },
    "ez_vsl": {"picture": "image_size"},
    "lvs": {"picture": "image_size"},
}
#: Options of other commands, by command: old name to new name, without dashes.
COMMAND_OPTIONS: dict[str, dict[str, str]] = {
    "build": {"least": "min-clips"},
    "predict": {"steady": "caption_change_threshold"},
    "scenes": {"picture": "image_size"},
}


def refuse_renamed_fit_options(args: Sequence[str]) -> None:
    """Raise ValueError if a command of training, or a config file that it names, gives an option by its old name."""
    from avkit.systems import DEFAULT

    system = str(last_value(args, "model.system.name") or DEFAULT)
    names = dict(FIT_OPTIONS)
    for old, new in SYSTEM_OPTIONS.get(system, {}).items():
        names[f"model.system.{old}"] = f"model.system.{new}"
    _refuse(args, names, FIT_VALUES)


def refuse_renamed_options(command: str, args: Sequence[str]) -> None:
    """Raise ValueError if another command gives an option by its old name."""
    _refuse(args, COMMAND_OPTIONS.get(command, {}), {})


def _refuse(args: Sequence[str], names: Mapping[str, str], values: Mapping[str, Mapping[str, str]]) -> None:
    """Raise ValueError, with all new names, if a renamed option or value is given."""
    changes: dict[str, list[str]] = {}
    for option in given_options(args):
        changes.setdefault(option.file, []).extend(_changes(option, names, values))
    sentences = []
    for file, parts in changes.items():
        if parts:
            place = f"{file}: " if file else ""
            sentences.append(f"{place}{', '.join(parts)}.")
    if sentences:
        raise ValueError(" ".join(sentences))


def _changes(option: GivenOption, names: Mapping[str, str], values: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What has a new name: the option, its value, or neither."""
    dashes = "" if option.file else "--"
    if option.name in names:
        yield f"{dashes}{option.name} is now {dashes}{names[option.name]}"
    new_value = values.get(option.name, {}).get(str(option.value))
    if new_value is not None:
        yield f"{dashes}{option.name} {option.value} is now {dashes}{option.name} {new_value}"
