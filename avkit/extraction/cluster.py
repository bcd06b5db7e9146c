# SPDX-License-Identifier: Apache-2.0
"""One extraction over many processes and machines, by Ray Data.

Each worker writes a shard of its own into the folder of parts, which all machines must see. A worker that dies is
started again, and its clips are given out again; what it had finished is not done twice, and names keep each clip
single when the shards are packed.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avkit.errors import AvkitError
from avkit.extraction.recipe import Recipe, Stream
from avkit.extraction.sources import Source

#: Clips given to a worker at a time.
_AT_ONCE = 4
#: What a worker is told of each clip.
_COLUMNS = ("name", "root", "data", "seconds", "moment", "centred")


class Worker:
    """Networks in a process of their own, fed with a few clips at a time.

    Args:
        streams: Streams as dictionaries.
        folder: Folder of the parts.
        device: Where networks run.
        batch: Pictures at a time.
    """

    def __init__(self, streams: list[dict[str, Any]], folder: str, device: str, batch: int) -> None:
        import torch

        from avkit.extraction.extract import Networks, Parts

        torch.set_num_threads(1)
        found = [Stream(**s) for s in streams]
        self.networks = Networks(found, torch.device(device), batch)
        self.parts = Parts(Path(folder), [s.name for s in found], shard=f"worker-{os.uname().nodename}-{os.getpid()}")

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Extract clips; the names of those that are done, or set aside."""
        from avkit.extraction.extract import run

        sources = [
            Source(name, Path(root), json.loads(data), seconds if seconds > 0 else None, moment, bool(centred))
            for name, root, data, seconds, moment, centred in zip(*(rows[key] for key in _COLUMNS), strict=True)
        ]
        skip = self.parts.done() | self.parts.failed().keys()
        run([s for s in sources if s.name not in skip], self.networks, self.parts, workers=0)
        return {"name": rows["name"]}


def spread_over(
    recipe: Recipe, workers: int, address: str | None, device: str, batch: int
) -> Callable[[Sequence[Source], Any, Callable[[str, str], None] | None], None]:
    """A function for `extract` that does the work on a Ray cluster.

    Args:
        recipe: What to run.
        workers: Processes.
        address: Of an existing cluster; a local one where None.
        device: Where each worker's networks run.
        batch: Pictures at a time.

    Raises:
        AvkitError: If Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise AvkitError(f"--ray needs Ray Data ({error}). Install it with pip install 'avkit[ray]'.") from error
    streams = [asdict(s) for s in recipe.streams if s.of != "text"]

    def spread(sources: Sequence[Source], parts: Any, each: Callable[[str, str], None] | None) -> None:
        """Do the work, and come back when all of it is done."""
        if not sources:
            return
        logging.getLogger("ray").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        own = not ray.is_initialized()
        if own:
            ray.init(
                address=address, num_cpus=None if address else max(workers, os.cpu_count() or 1), log_to_driver=False
            )
        try:
            rows = [
                dict(
                    zip(
                        _COLUMNS, (s.name, root, json.dumps(s.data), s.seconds or 0.0, s.moment, s.centred), strict=True
                    )
                )
                for s in sources
                for root in [str(s.root.resolve())]
            ]
            blocks = max(1, min(len(rows), 4 * workers))
            data = ray.data.from_items(rows, override_num_blocks=blocks)
            done = data.map_batches(
                Worker,
                fn_constructor_args=(streams, str(parts.folder.resolve()), device, batch),
                batch_size=_AT_ONCE,
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_gpus=1 if device.startswith("cuda") else 0,
            )
            seen = set()
            for row in done.iter_rows():
                seen.add(row["name"])
                if each is not None:
                    each(row["name"], "")
        finally:
            if own:
                ray.shutdown()
        if lost := {s.name for s in sources} - seen:
            raise AvkitError(f"{len(lost)} clips were lost on the way, such as {min(lost)!r}. Start again.")

    return spread
