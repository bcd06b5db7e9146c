# SPDX-License-Identifier: Apache-2.0
"""Commands that answer one clip after the other, spread over a Ray cluster: each of its networks does some clips."""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path

from avkit.errors import AvkitError
from avkit.extraction.ray_passes import Cluster, Row, in_two_passes, need_ray, ray_started, share_of
from avkit.licences import commercial_only
from avkit.reading.remote import is_there, whole_path

#: Does a command's work on one clip.
Work = Callable[[Path], None]


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Add `--ray`, `--ray-address` and `--ray-gpus`."""
    parser.add_argument(
        "--ray",
        type=int,
        metavar="N",
        help="spread the clips over a Ray cluster, up to N networks (pip install 'avkit[ray]'); all machines must see "
        "run, clips and --out",
    )
    parser.add_argument("--ray-address", help="an existing cluster, such as auto; a local one by default")
    parser.add_argument(
        "--ray-gpus", type=float, metavar="X", help="GPUs for each of Ray's networks, such as 0.5; 1 by default"
    )


def cluster_of(options: argparse.Namespace) -> Cluster | None:
    """The cluster that is asked for; None where the command works by itself.

    Raises:
        ValueError: If a number is out of range.
    """
    if options.ray is None and options.ray_address is None:
        if options.ray_gpus is not None:
            raise ValueError(f"--ray-gpus is {options.ray_gpus:g}, and nothing is asked of Ray. Add --ray N.")
        return None
    if options.ray is not None and options.ray < 1:
        raise ValueError(f"--ray is {options.ray}; give the number of networks, 1 or more.")
    if options.ray_gpus is not None and not options.ray_gpus > 0:
        raise ValueError(f"--ray-gpus is {options.ray_gpus:g}; give a number above 0, or --device cpu.")
    return Cluster(options.ray or 2, options.ray_address, options.device, options.ray_gpus)


class ClipActor:
    """A command's work in a process of its own, which Ray feeds with clips.

    Args:
        module: Module of the command; its `make_work` takes the options and gives the work.
        options: Of the command.
    """

    def __init__(self, module: str, options: argparse.Namespace) -> None:
        import torch

        torch.set_num_threads(1)
        self.options = options
        self.failure = ""
        try:
            with commercial_only(wanted=options.commercial_safe):
                self.work: Work = import_module(module).make_work(options)
        except (AvkitError, ValueError) as error:  # told once, by the process that asked
            self.failure = str(error)

    def __call__(self, rows: Row) -> Row:
        """Do some clips; returns their names, why they cannot be read, what was printed, and what ends the command."""
        done: Row = {"name": list(rows["name"]), "error": [], "printed": [], "failure": []}
        for name in rows["name"]:
            error, printed = ("", "") if self.failure else self._do(Path(str(name)))
            done["error"].append(error)
            done["printed"].append(printed)
            done["failure"].append(self.failure)
        return done

    def _do(self, clip: Path) -> tuple[str, str]:
        from avkit.cli.clips import one_clip

        printed = StringIO()
        try:
            with (
                redirect_stdout(printed),
                commercial_only(wanted=self.options.commercial_safe),
                one_clip(clip),
            ):
                self.work(clip)
        except AvkitError as error:
            return str(error), printed.getvalue()
        except ValueError as error:  # of the options, and so of all clips
            self.failure = str(error)
        return "", printed.getvalue()


def work_on_ray(module: str, options: argparse.Namespace, clips: Sequence[Path], cluster: Cluster) -> dict[str, str]:
    """Do all clips on a cluster, printing what each prints when it is done.

    Args:
        module: As for `ClipActor`.
        options: Of the command.
        clips: The clips.
        cluster: What is asked of the cluster.

    Returns:
        Why clips could not be done, by their paths.

    Raises:
        AvkitError: If Ray is missing, or the command cannot be done at all, such as for want of a run.
    """
    need_ray()
    errors: dict[str, str] = {}

    def on_row(row: Row) -> None:
        if row.get("failure"):
            raise AvkitError(str(row["failure"]))
        print(row.get("printed", ""), end="", flush=True)
        if row["error"]:
            errors[row["name"]] = str(row["error"])
            print(f"avkit: {row['error']}", file=sys.stderr)

    with ray_started(cluster):
        share = share_of(cluster)
        whole = _with_whole_paths(options, share.device)

        def rows_of(names: Sequence[str], count: int) -> Iterator[Row]:
            import ray.data

            items = ray.data.from_items([{"name": name} for name in names], override_num_blocks=-(-len(names) // count))
            yield from items.map_batches(
                ClipActor,
                fn_constructor_args=(module, whole),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.workers),
                num_gpus=share.gpus,
                num_cpus=0.0 if share.gpus else 1.0,
            ).iter_rows()

        in_two_passes([whole_path(clip) for clip in clips], rows_of, on_row)
    return errors


def _with_whole_paths(options: argparse.Namespace, device: str) -> argparse.Namespace:
    """Options that mean the same in another folder."""
    whole = copy.copy(options)
    whole.device = device
    whole.out = Path(whole_path(options.out))
    if is_there(options.run):
        whole.run = whole_path(options.run)
    return whole
