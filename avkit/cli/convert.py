# SPDX-License-Identifier: Apache-2.0
"""`avkit convert NAME official.pth -o ours.safetensors`: the authors' weights as ours, and back."""

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from avkit.errors import DataError
from avkit.files import atomic
from avkit.systems import NETWORKS, find_network
from avkit.systems.checkpoints import OfficialNetwork, read_official, short

#: What the authors' environment is asked to run where they saved a whole module, which nobody else should load.
SCRIPT = """\
# Run this where the authors' code runs, in their repository's folder: loading a pickled module runs code.
import sys

import torch

net = torch.load(sys.argv[1], map_location="cpu", weights_only=False)
torch.save({key: value.clone() for key, value in net.state_dict().items()}, sys.argv[2])
"""


def run(args: list[str]) -> int:
    """Convert; `args` are the words after `avkit convert`."""
    p = argparse.ArgumentParser(
        prog="avkit convert",
        description="Official weights into a file of ours, every key accounted for; or back with --reverse.",
        epilog=f"systems: {', '.join(NETWORKS)}. "
        "Use the file with: avkit fit --model.system.name NAME --model.system.weights ours.safetensors",
    )
    p.add_argument("name", help="the system")
    p.add_argument("file", nargs="?", type=Path, help="official checkpoint: .pth, .pt or .safetensors")
    p.add_argument("-o", "--out", type=Path, help="file to write; beside the given one by default")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what no weight tells, such as heads=4 or topk=8",
    )
    p.add_argument("--raw", action="store_true", help="the last weights where the file has averaged ones (EMA) too")
    p.add_argument("--reverse", action="store_true", help="FILE is ours: write the authors' state dict")
    p.add_argument("--script", action="store_true", help="print what saves a pickled module's state dict, and end")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    options = p.parse_args(args)
    network = find_network(options.name)
    if options.script:
        print(SCRIPT, end="")
        return 0
    if options.file is None:
        p.error("give the file to convert")
    if options.reverse:
        return _back(network, options.file, options.out or options.file.with_suffix(".official.pth"))
    out = options.out or options.file.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}; avkit writes .safetensors.")
    state, notes = _read(options.file, options.raw, options.name)
    made = network.from_official(state, **_settings(options.set))
    made.save(out)
    report(made, state, notes, out)
    return 0


def _read(path: Path, raw: bool, name: str) -> tuple[dict[str, Tensor], list[str]]:
    try:
        return read_official(path, raw)
    except ValueError as error:
        raise DataError(
            f"{error} If this is a whole module, as AVE and PSP save it: `avkit convert {name} --script > save.py`, "
            "run `python save.py MODEL.pt STATE.pt` where the authors' code runs, and convert STATE.pt."
        ) from error


def _settings(words: list[str]) -> dict[str, Any]:
    found = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key:
            raise ValueError(f"--set takes KEY=VALUE, such as heads=4; got {word!r}.")
        found[key] = yaml.safe_load(value)
    return found


def _back(network: type[OfficialNetwork], path: Path, out: Path) -> int:
    made = network.load(path)
    state = made.to_official()
    with atomic(out) as part:
        torch.save(state, part)
    print(f"{out}: {len(state)} keys of {made.source}, which load with strict=True")
    return 0


def report(network: OfficialNetwork, state: Mapping[str, Tensor], notes: list[str], out: Path) -> None:
    """Print what became of every key."""
    console = Console(highlight=False)
    unused = network.unused_keys()
    copies = network.official_copies()
    console.print(f"{network.name} ({network.source})")
    arguments = [f"{key} {short(value)}" for key, value in network.built_with.items()]
    console.print(f"  built with {', '.join(arguments)}")
    for note in notes:
        console.print(f"  {escape(note)}")
    total = sum(x.numel() for x in state.values())
    console.print(f"  {len(state)} keys, {total:,} numbers: {len(state) - len(unused) - len(copies)} are ours")
    if copies:
        _report_copies(console, state, copies)
    if unused:
        _report_unused(console, state, unused)
    if prefixes := network.untrained():
        _report_untrained(console, network, prefixes)
    console.print(f"written: {out}")


def _report_copies(console: Console, state: Mapping[str, Tensor], copies: Mapping[str, str]) -> None:
    console.print(f"  {len(copies)} are second names of others")
    differing = sum(not torch.equal(state[copy], state[key]) for copy, key in copies.items())
    if differing:
        console.print(f"  {differing} of these have values of their own, which the authors' code would not use either")


def _report_unused(console: Console, state: Mapping[str, Tensor], unused: Mapping[str, tuple[int, ...]]) -> None:
    numbers = sum(state[key].numel() for key in unused)
    console.print(f"  {len(unused)} are unused: {numbers:,} numbers that are never trained, kept for the way back")
    for part, count in Counter(_part(key) for key in unused).items():
        console.print(f"    {part}  {count} {'key' if count == 1 else 'keys'}")


def _report_untrained(console: Console, network: OfficialNetwork, prefixes: list[str]) -> None:
    parameters = [x for key, x in network.named_parameters() if key.startswith(tuple(prefixes))]
    numbers = sum(x.numel() for x in parameters)
    console.print(f"  {len(parameters)} of ours are never trained as the network is built: {numbers:,} numbers")
    console.print(f"    {', '.join(prefix.rstrip('.') for prefix in prefixes)}")


def _part(key: str) -> str:
    """The beginning of a key that tells which part it is of."""
    words = key.split(".")
    return ".".join(words[: max(1, min(len(words) - 1, 3))])
