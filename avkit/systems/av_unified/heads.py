# SPDX-License-Identifier: Apache-2.0
"""The heads of a run: one per task by name, or a sequence decoder that all tasks share."""

from collections.abc import Callable
from typing import Any

from avkit.heads import create_head, find_head
from avkit.heads.base import Head, HeadInputs
from avkit.heads.codec import Codec
from avkit.heads.mask_code import MaskCode
from avkit.heads.sequence import SequenceDecoder
from avkit.heads.sequence_head import SequenceHead
from avkit.systems.base import HeadChoice, RunContext
from avkit.tasks.base import Task


def make_heads(
    context: RunContext,
    width: int,
    pyramid_widths: Callable[[str], tuple[int, ...]],
    decoder: SequenceDecoder | None,
) -> dict[str, Head]:
    """The head of every task, by the task's name as a module's.

    Args:
        context: Tasks and chosen heads.
        width: Width D of the tokens.
        pyramid_widths: Widths of the feature maps of a task's pictures.
        decoder: The shared decoder where answers are sequences.
    """
    heads = {}
    for name, task in context.tasks.items():
        inputs = HeadInputs(width, task.vocabulary, pyramid_widths(name), context.expert_width)
        key = module_name(name)
        if decoder is None:
            heads[key] = _make_head(name, task, inputs, context.heads.get(name))
            continue
        teacher = _make_head(name, task, inputs, None) if task.weakly_supervised else None
        usual = find_head(name, default=task.default_head)
        heads[key] = SequenceHead(decoder, task.sequence_forms, usual, teacher)
    return heads


def _make_head(name: str, task: Task, inputs: HeadInputs, choice: HeadChoice | None) -> Head:
    """A head by name, or by a mapping with `name` and its options."""
    options: dict[str, Any] = {"name": choice} if isinstance(choice, str) else dict(choice or {})
    head: str | None = options.pop("name", None)
    return create_head(name, head, inputs, task.default_head, **options)


def make_decoder(context: RunContext, width: int, pyramid_widths: tuple[int, ...], blocks: int) -> SequenceDecoder:
    """The decoder that writes the answers of all tasks.

    Args:
        context: Tasks and their vocabularies.
        width: Width D of the tokens.
        pyramid_widths: Widths of the feature maps of pictures.
        blocks: Blocks on each side of a mask.

    Raises:
        ValueError: If a task has no sequence form, or heads are named.
    """
    if context.heads:
        raise ValueError(
            f"model.heads names heads of {', '.join(context.heads)}, and --model.interface sequence has none. Leave "
            "one of them out."
        )
    without = [name for name, task in context.tasks.items() if not task.sequence_forms]
    if without:
        raise ValueError(
            f"Task {', '.join(without)} has no form of a sequence (`Task.sequence_forms`); use --model.interface heads."
        )
    forms = dict.fromkeys(form for task in context.tasks.values() for form in task.sequence_forms)
    codec = Codec(context.vocabulary, code=MaskCode(blocks))
    return SequenceDecoder(width, codec, list(forms), pyramid_widths)


def module_name(task: str) -> str:
    """A task's name as a module's: torch takes no dots, which names of tasks from outside have."""
    return task.replace(".", "/")
