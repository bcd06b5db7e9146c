# SPDX-License-Identifier: Apache-2.0
"""`avkit convert NAME official.pth -o ours.safetensors`: official weights into a file of ours, and back."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from avkit.encoders.weight_files import UnreadableWeights
from avkit.errors import DataError
from avkit.files import atomic
from avkit.reading.text import parse_yaml
from avkit.systems import NETWORKS, find_network
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.official_files import read_official
from avkit.systems.official_keys import short

#: To be run in the authors' environment where a file cannot be read without running its code.
SCRIPT = """\
# Run this where the authors' code runs, in their repository's folder: loading pickled objects runs code.
import sys

import torch


def weights_in(value):
    \"\"\"Weights of networks, and of dictionaries of them; None for all that is neither.\"\"\"
    if hasattr(value, "state_dict"):
        value = value.state_dict()
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if not isinstance(value, dict):
        return None
    entries = {str(key): weights_in(entry) for key, entry in value.items() if "optim" not in str(key)}
    return {key: entry for key, entry in entries.items() if entry is not None} or None


content = weights_in(torch.load(sys.argv[1], map_location="cpu", weights_only=False))
if content is None or isinstance(content, torch.Tensor):
    sys.exit(f"{sys.argv[1]} holds no weights by name.")
torch.save(content, sys.argv[2])
print(f"{sys.argv[2]}: {', '.join(list(content)[:5])} ...")
"""


def parser() -> argparse.ArgumentParser:
    """The options of `avkit convert`."""
    p = argparse.ArgumentParser(
        prog="avkit convert",
        description="Official weights into a file of ours, with every key reported; or back with --reverse.",
        epilog=f"systems: {', '.join(NETWORKS)}. "
        "Use the file with: avkit fit --model.system.name NAME --model.system.weights ours.safetensors",
    )
    p.add_argument("name", help="the system")
    p.add_argument("file", nargs="?", type=Path, help="official checkpoint: .pth, .pt or .safetensors")
    p.add_argument("-o", "--out", type=Path, help="file to write; by default next to FILE")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option that the weights do not show, such as heads=4 or topk=8",
    )
    p.add_argument("--raw", action="store_true", help="the last weights where the file has averaged ones (EMA) too")
    p.add_argument("--key", help="where the weights lie in FILE, such as model.ema, if several fit")
    p.add_argument("--allow_nan", action="store_true", help="convert weights that hold NaN or infinite numbers")
    p.add_argument("--reverse", action="store_true", help="FILE is ours: write the authors' state dict")
    p.add_argument("--script", action="store_true", help="print a script that saves pickled objects as plain weights")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Convert; `args` are the arguments after `avkit convert`."""
    options = parser().parse_args(args)
    network = find_network(options.name)
    if options.script:
        print(SCRIPT, end="")
        return 0
    if options.file is None:
        parser().error("give the file to convert")
    if options.reverse:
        return _convert_back(network, options.file, options.out or options.file.with_suffix(".official.pth"))
    out = options.out or options.file.with_suffix(".safetensors")
    if out.suffix != ".safetensors":
        raise ValueError(f"--out is {out}; avkit writes .safetensors.")
    state, notes = _read(options, network)
    made = network.from_official(state, **_settings(options.set))
    official = made.official_shapes()
    beside = [key for key in state if key not in official]
    if beside:
        notes.append(f"left out, single numbers beside the weights: {', '.join(beside)}")
    made.save(out)
    report(made, {key: state[key] for key in official}, notes, out)
    return 0


def _read(options: argparse.Namespace, network: type[OfficialNetwork]) -> tuple[dict[str, Tensor], list[str]]:
    try:
        return read_official(options.file, network, raw=options.raw, key=options.key, allow_nan=options.allow_nan)
    except UnreadableWeights as error:
        if options.file.suffix == ".safetensors":
            raise DataError(str(error)) from error
        raise DataError(
            f"{error} If it is a whole file of the authors: `avkit convert {options.name} --script > save.py`, run "
            "`python save.py FILE STATE.pt` where the authors' code runs, and convert STATE.pt."
        ) from error


def _settings(assignments: list[str]) -> dict[str, Any]:
    """Options of `--set` by name, with values read as YAML."""
    settings = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key:
            raise ValueError(f"--set takes KEY=VALUE, such as heads=4; got {assignment!r}.")
        settings[key] = parse_yaml(value, f"--set {key}")
    return settings


def _convert_back(network: type[OfficialNetwork], path: Path, out: Path) -> int:
    made = network.load(path)
    state = made.to_official()
    with atomic(out) as part:
        torch.save(state, part)
    print(f"{out}: {len(state)} keys of {network.source}, which load with strict=True")
    return 0


def report(network: OfficialNetwork, state: Mapping[str, Tensor], notes: list[str], out: Path) -> None:
    """Print what became of every key.

    Args:
        network: The network with the converted weights.
        state: The official checkpoint.
        notes: What was read from the checkpoint's file.
        out: File that was written.
    """
    unused = network.unused_keys()
    copies = network.official_copies()
    options = [f"{key} {short(value)}" for key, value in network.built_with.items()]
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{network.name} ({network.source})")
    console.print("  built with " + ", ".join(options))
    for note in notes:
        console.print(f"  {escape(note)}")
    loaded = len(state) - len(unused) - len(copies)
    console.print(f"  {len(state)} keys, {_count_numbers(state.values()):,} numbers: {loaded} are loaded")
    if copies:
        _report_copies(console, state, copies)
    if unused:
        _report_unused(console, {key: state[key] for key in unused})
    untrained = network.untrained()
    if untrained:
        _report_untrained(console, network, untrained)
    console.print(f"written: {out}")


def _report_copies(console: Console, state: Mapping[str, Tensor], copies: Mapping[str, str]) -> None:
    console.print(f"  {len(copies)} are second names of other keys")
    different = [copy for copy, key in copies.items() if not torch.equal(state[copy], state[key])]
    if different:
        console.print(f"  {len(different)} of these have other values, which the authors' code would not use either")


def _report_unused(console: Console, unused: Mapping[str, Tensor]) -> None:
    numbers = _count_numbers(unused.values())
    console.print(f"  {len(unused)} are unused: {numbers:,} numbers that no answer depends on, kept for --reverse")
    for part, count in Counter(_part(key) for key in unused).items():
        console.print(f"    {part}  {count} {'key' if count == 1 else 'keys'}")


def _report_untrained(console: Console, network: OfficialNetwork, prefixes: list[str]) -> None:
    parameters = [x for key, x in network.named_parameters() if key.startswith(tuple(prefixes))]
    numbers = _count_numbers(parameters)
    console.print(f"  {len(parameters)} are never trained in this configuration: {numbers:,} numbers")
    console.print(f"    {', '.join(prefix.rstrip('.') for prefix in prefixes)}")


def _count_numbers(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _part(key: str) -> str:
    """The first one to three names of a key, which name the part of the network."""
    names = key.split(".")
    return ".".join(names[: max(1, min(len(names) - 1, 3))])
