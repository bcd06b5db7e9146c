# SPDX-License-Identifier: Apache-2.0
"""Work on many clips by Ray Data: a cluster that is found or started, and a second pass for clips that were lost."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from avkit.errors import AvkitError

#: Clips of a task of Ray's first pass. In the second each clip that was lost, with its task, is alone.
CLIPS_PER_TASK = 8
#: Ray's word for a cluster of its own on this machine, even where another runs.
_LOCAL = "local"
#: Why a clip has no result after both passes.
LOST = "its process ended twice: the file crashes it, or memory is short."

#: What a worker gives back of a clip: its `name`, `error`, which is empty if there was none, and more.
Row = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """What is asked of a cluster.

    Attributes:
        workers: Networks that run at the same time, at most; there are fewer while there is less to do.
        address: Of an existing cluster; where None, that of `RAY_ADDRESS`, and without it a local one is started.
        device: Where networks run; None for GPUs where the cluster has some.
        gpus: GPUs, or a part of one, for each network; None for a whole one.
    """

    workers: int = 2
    address: str | None = None
    device: str | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class Share:
    """What each network gets of the cluster's machines.

    Attributes:
        device: Where it runs.
        gpus: GPUs, or a part of one.
        cpus: CPUs.
    """

    device: str
    gpus: float
    cpus: float


def need_ray() -> None:
    """Refuse where Ray Data is missing.

    Raises:
        AvkitError: If it is.
    """
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError as error:
        raise AvkitError(f"--ray needs Ray Data ({error}). Install it with pip install 'avkit[ray]'.") from error


@contextmanager
def ray_started(cluster: Cluster) -> Iterator[None]:
    """Have a cluster while the block runs: the existing one, or one on this machine that ends with the block."""
    import ray
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a clip that ends its process is tried again alone, see `in_two_passes`
    starts_ray = not ray.is_initialized()
    if starts_ray:
        address = cluster.address or os.environ.get("RAY_ADDRESS") or _LOCAL
        cpus = cluster.workers + (os.cpu_count() or 1) if address == _LOCAL else None
        ray.init(address=address, num_cpus=cpus, log_to_driver=False, include_dashboard=False)
    try:
        yield
    finally:
        if starts_ray:
            ray.shutdown()


def share_of(cluster: Cluster) -> Share:
    """What each network gets, by what the cluster has.

    Raises:
        ValueError: If a GPU is asked for and the cluster has none.
    """
    import ray

    resources = ray.cluster_resources()
    has_gpus = resources.get("GPU", 0) > 0
    device = cluster.device or ("cuda" if has_gpus else "cpu")
    if device.startswith("cuda") and not has_gpus:
        raise ValueError(f"--device is {device}, and no machine of the Ray cluster has a GPU. Leave it out.")
    gpus = (cluster.gpus or 1.0) if device.startswith("cuda") else 0.0
    # one CPU is left for decoding, and as many as for decoding would have Ray join both
    return Share(device, gpus, 0.0 if gpus or resources.get("CPU", 0) < 2 else 0.9)


def in_two_passes(
    names: Sequence[str], rows_of: Callable[[Sequence[str], int], Iterable[Row]], on_row: Callable[[Row], None]
) -> None:
    """Work on all clips; those that were lost with their process once more, each alone.

    Args:
        names: The clips.
        rows_of: Gives the rows of some clips as they are done; takes their names, and how many a task has.
        on_row: Takes the row of each clip, once; one with `error` of a clip that was lost twice.
    """
    left = dict.fromkeys(names)
    for clips_per_task in (CLIPS_PER_TASK, 1):
        if not left:
            return
        for row in rows_of(list(left), clips_per_task):
            if row["name"] in left:
                del left[row["name"]]
                on_row(row)
    for name in left:
        on_row({"name": name, "error": LOST})
