# SPDX-License-Identifier: Apache-2.0
"""Networks of the timm library by name, with random weights, those of its hub, or a file."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from avkit.encoders.pretrained import HUB, check_weights, count_parameters, covers, give_file, read_weights
from avkit.reading.hub import from_hub, hugging_face


def check_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Args:
        name: Architecture, or architecture and tag of its weights, such as `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        ValueError: If there is no such architecture, or no such tag of it; names the nearest.
    """
    if not timm.is_model(name):
        near = get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()], n=5, cutoff=0.5)
        raise ValueError(f"timm knows no model {name!r}. Similar: {', '.join(near) or 'none'}; see timm.list_models().")
    architecture, dot, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
    if dot and tag not in tags:
        near = get_close_matches(tag, tags, n=3, cutoff=0.3) or tags
        listed = ", ".join(f"{architecture}.{other}" for other in near)
        raise ValueError(
            f"timm knows no weights {tag!r} of {architecture}. Similar: {listed or 'none'}; leave '.{tag}' out for the "
            "default ones."
        )


def create_network(name: str, pretrained: str | Path | bool | None, **options: Any) -> Any:
    """A network of timm with its weights.

    Args:
        name: See `check_name`.
        pretrained: None or False for random weights, `hub` or True for those that timm downloads, or a path.
        options: Further arguments of `timm.create_model`.

    Raises:
        ValueError: If timm has no such network, or the weights do not fit.
        HubError: If weights are neither in the cache nor can they be downloaded.
    """
    check_name(name)
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    if pretrained is True or pretrained == HUB:
        _check_published(name)
        with timm_weights(name):
            return timm.create_model(name, pretrained=True, **options)
    state = _read(name, pretrained)
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)


def _check_published(name: str) -> None:
    """Refuse weights of a hub for a network of which timm publishes none."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url or config.file):
        raise ValueError(
            f"timm publishes no weights of {name}. Name a weight file, take a network of timm.list_pretrained(), or "
            "leave the weights empty and train it."
        )


def timm_weights(name: str) -> AbstractContextManager[bool]:
    """A block in which timm loads the published weights of a model."""
    config = timm.get_pretrained_cfg(name)
    address = "https://huggingface.co/timm"
    if config is not None:
        address = hugging_face(config.hf_hub_id) if config.hf_hub_id else config.url or address
    return from_hub(
        f"Weights of {name}", address, give_file("visual"), lambda: count_parameters(lambda: timm.create_model(name))
    )


def _read(name: str, path: str | Path) -> dict[str, Tensor]:
    """Weights with timm's keys, checked against the whole model, since `features_only` ignores keys that do not fit."""
    whole = timm.create_model(name, num_classes=0)
    filter_checkpoint = vars(import_module(type(whole).__module__)).get("checkpoint_filter_fn")
    has_keys = covers(whole.state_dict().keys())

    def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state by timm's keys."""
        return dict(state if filter_checkpoint is None else filter_checkpoint(dict(state), whole))

    def fits(state: Mapping[str, Tensor]) -> bool:
        try:
            return has_keys(convert(state))
        except (KeyError, IndexError, ValueError, RuntimeError, AttributeError):  # weights of something else
            return False

    state = read_weights(path, fits)
    if fits(state):
        state = convert(state)
    classifier = whole.pretrained_cfg.get("classifier") or ()
    prefixes = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    check_weights(whole.state_dict(), state, path, prefixes)
    return state
