# SPDX-License-Identifier: Apache-2.0
"""Forms of the shared backbone: our own, and the one that the paper's equations describe."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

#: Name of a form.
FormName: TypeAlias = Literal["default", "paper"]


@dataclass(frozen=True)
class BackboneForm:
    """Where AV-Unified's paper and our own backbone differ; the defaults are our own.

    Attributes:
        always_cross_modal: Let audio and picture attend to each other for every task; otherwise a head decides, and the
            default heads of `avvp` and `ssl` decide against it.
        gate_residual: The gate multiplies by 1 + n w instead of the weight w of Eq. 9, see `PromptGate`.
        gate_projection: A linear layer for each stream behind the gate. Heads normalise each token, which removes a
            factor; behind a layer with a bias they still see it.
        feed_forward: A feed-forward layer after the spatial attentions.
        raw_audio_guide: The encoder's audio feature guides the patches (Eq. 6), not that of the temporal module.
        audio_streams: 1 for the audio of the spatial module, weighed over time and over space; 2 for that of the
            temporal module, weighed over time, and that of the spatial module, weighed over space (Eq. 7 to 9), joined
            by a linear layer.
        stacked_windows: Each window of the temporal module reads what the one before it made; otherwise all read the
            module's input.
        temporal_depth: Number of temporal modules, one behind the other.
    """

    always_cross_modal: bool = False
    gate_residual: bool = True
    gate_projection: bool = False
    feed_forward: bool = True
    raw_audio_guide: bool = False
    audio_streams: int = 1
    stacked_windows: bool = False
    temporal_depth: int = 1

    def __post_init__(self) -> None:
        if self.audio_streams not in (1, 2):
            raise ValueError(f"model.system.audio_streams is {self.audio_streams}; it is 1 or 2.")
        if self.temporal_depth < 1:
            raise ValueError(
                f"model.system.temporal_depth is {self.temporal_depth}; it is at least 1. "
                "--model.system.temporal false leaves the temporal module out."
            )


#: The forms by name.
FORMS: dict[FormName, BackboneForm] = {
    "default": BackboneForm(),
    "paper": BackboneForm(
        always_cross_modal=True,
        gate_residual=False,
        gate_projection=True,
        feed_forward=False,
        raw_audio_guide=True,
        audio_streams=2,
        stacked_windows=True,
        temporal_depth=1,
    ),
}


def choose_form(name: FormName, given: Mapping[str, bool | int | None]) -> BackboneForm:
    """A form by name, with the options that are given in place of its own.

    Args:
        name: Name of the form.
        given: Options of `BackboneForm` by name; None for those that the form decides.

    Raises:
        ValueError: If an option has a value that it does not take.
    """
    form = FORMS[name]
    values = {field.name: vars(form)[field.name] for field in fields(BackboneForm)}
    for option, value in given.items():
        if value is not None:
            values[option] = value
    return BackboneForm(**values)


def describe_form(name: FormName, form: BackboneForm) -> str:
    """The form in words, with the options that differ from it; empty for the default form as it is."""
    own = vars(FORMS[name])
    changes = [f"{option} {_text(value)}" for option, value in vars(form).items() if value != own[option]]
    if not changes and name == "default":
        return ""
    exceptions = f", except {', '.join(changes)}" if changes else ""
    return f"The backbone has the {name} form{exceptions}."


def _text(value: bool | int) -> str:
    """A value as it is typed."""
    return str(value).lower()
