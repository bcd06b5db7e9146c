# SPDX-License-Identifier: Apache-2.0
"""Kills commands at random moments and at chosen points, resumes them, and compares with what was never killed.

Compared are the history with its validations, the last and the best checkpoint with weights, optimizer, schedule,
averaged weights, random numbers and loops, the weights as safetensors, and the final report; for `index` and
`predict --stream` all files.

Every run is a fork of this process, which has imported everything, so that a run takes seconds. A third of the kills
take the whole process group, the others the main process alone.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from same_run import differences, differing_files

TINY = [
    *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2"),
    *("--data.steps_per_epoch", "4", "--data.batch_size.trimmed", "2", "--data.batch_size.whole", "2"),
    *("--data.scenes.val_size", "4", "--data.scenes.test_size", "4", "--data.scenes.train_size", "24"),
    *("--data.image_size", "32", "--model.system.width", "32", "--model.system.dropout", "0.1", "--save_steps", "1"),
]
ALONE = ("--data.loader.workers", "0")
EMA = ("--trainer.callbacks", "lightning.pytorch.callbacks.EMAWeightAveraging", "--trainer.callbacks.decay", "0.9")
#: A learning rate that falls after each validation, as no figure rises by so much.
PLATEAU = (
    *("--optimizer", "AdamW", "--optimizer.lr", "0.001", "--lr_scheduler", "ReduceLROnPlateau"),
    *("--lr_scheduler.monitor", "val/score", "--lr_scheduler.mode", "max", "--lr_scheduler.patience", "0"),
    *("--lr_scheduler.threshold", "9", "--trainer.max_epochs", "3", "--data.steps_per_epoch", "3"),
)
#: Points at which a process kills itself: module, object and method, and the call before which it does.
POINTS = {
    "between checkpoint and safetensors": ("avkit.training.callbacks", "", "write_weights"),
    "in a save": ("torch", "", "save"),
    "in validation": ("avkit.training.module", "AVModel", "validation_step"),
    "in test": ("avkit.training.module", "AVModel", "test_step"),
    "in the report": ("avkit.cli.evaluate", "", "write_report"),
    "in a step": ("avkit.training.module", "AVModel", "training_step"),
}


@dataclass(frozen=True)
class Scenario:
    """A command that is killed.

    Attributes:
        name: Name in the table.
        options: Words after those of all runs.
        share: Weight of its number of kills.
        tasks: Tasks.
        kind: `fit`; `index`, `stream` or `test` of a run that was trained before.
    """

    name: str
    options: tuple[str, ...] = ALONE
    share: int = 2
    tasks: str = "avs"
    kind: str = "fit"


SCENARIOS = (
    Scenario("one task", share=4),
    Scenario("two tasks", share=2, tasks="avs,avqa"),
    Scenario("loader workers", ("--data.loader.workers", "2"), share=4),
    Scenario("averaged weights", (*ALONE, *EMA), share=4),
    Scenario("accumulation 3 of 4", (*ALONE, "--trainer.accumulate_grad_batches", "3"), share=3),
    Scenario(
        "validation amid accumulation",
        (*ALONE, "--trainer.accumulate_grad_batches", "3", "--trainer.val_check_interval", "0.5"),
    ),
    Scenario("plateau", (*ALONE, *PLATEAU)),
    Scenario("plateau, steps as limit", (*ALONE, *PLATEAU, "--trainer.max_steps", "8", "--trainer.max_epochs", "-1")),
    Scenario(
        "uncertainty, surgery", (*ALONE, "--model.balance", "uncertainty", "--model.surgery", "true"), 3, "avs,ave"
    ),
    Scenario("two validations per epoch", (*ALONE, "--trainer.val_check_interval", "0.5"), share=3),
    Scenario("steps as limit", (*ALONE, "--trainer.max_steps", "7", "--trainer.max_epochs", "-1"), share=2),
    Scenario("steps as limit, whole epochs", (*ALONE, "--trainer.max_steps", "8", "--trainer.max_epochs", "-1")),
    Scenario("two processes", (*ALONE, "--trainer.devices", "2"), share=1),
    Scenario(
        "two processes, accumulation",
        (
            *ALONE,
            "--trainer.devices",
            "2",
            "--trainer.accumulate_grad_batches",
            "3",
            "--trainer.val_check_interval",
            "0.5",
        ),
        share=1,
    ),
    Scenario("test", kind="test", share=1),
    Scenario("index", kind="index", share=2),
    Scenario("stream", kind="stream", share=1),
)


@dataclass
class Tally:
    """Counts of one scenario.

    Attributes:
        kills: Processes killed.
        finished: Runs that were resumed until they ended by themselves.
        same: Those of them that equal the run that was never killed.
        faults: What differed, or how a resumed run failed.
        places: Kills by the point at which the process killed itself, or `at random`.
    """

    kills: int = 0
    finished: int = 0
    same: int = 0
    faults: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)


def start(args: Sequence[str], log: Path, before: Callable[[], None] | None = None) -> int:
    """Start a command in a fork, in a process group of its own; returns its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(out, stream)
        if before is not None:
            before()
        from avkit.cli import main

        code = main(list(args))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a fork after at most some seconds, negative for a signal; None while it runs."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def kill_at(point: str, call: int) -> Callable[[], None]:
    """A function that makes this process kill itself before the given call of a point."""

    def prepare() -> None:
        module, owner, name = POINTS[point]
        holder = __import__(module, fromlist=["_"])
        if owner:
            holder = getattr(holder, owner)
        plain = getattr(holder, name)
        calls = 0

        def counted(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **kwargs)

        setattr(holder, name, counted)

    return prepare


class Driver:
    """Runs scenarios in a folder.

    Args:
        folder: Where runs and logs lie.
        seed: Of moments and points.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        #: Seconds of the run that is never killed, by scenario.
        self.seconds: dict[str, float] = {}

    def place(self, scenario: Scenario, name: str) -> Path:
        """The folder of a run or result."""
        return self.folder / scenario.name.replace(" ", "_").replace(",", "") / name

    def words(self, scenario: Scenario, name: str, *, resume: bool) -> list[str]:
        """The words of a command, or of the command that goes on after a kill."""
        place = self.place(scenario, name)
        trained = str(self.folder / "trained" / "run")
        if scenario.kind == "index":
            return ["index", trained, str(self.folder / "videos"), "--out", str(place), "--device", "cpu"]
        if scenario.kind == "stream":
            clip = str(self.folder / "videos" / "0.mp4")
            return ["predict", trained, clip, "--stream", "--out", str(place), "--device", "cpu"]
        if scenario.kind == "test":
            if not place.exists():
                shutil.copytree(trained, place)
            return ["test", str(place), "--trainer.enable_progress_bar", "false"]
        words = ["fit", "--tasks", scenario.tasks, "--out", str(place.parent), "--name", place.name]
        words += [*TINY, *scenario.options]
        started = any((place / "checkpoints").glob("[!.]*.ckpt"))
        if resume and not started:
            shutil.rmtree(place, ignore_errors=True)  # nothing was saved: it is started again
        return [*words, "--ckpt_path", "last"] if resume and started else words

    def through(self, scenario: Scenario) -> None:
        """The run that is never killed."""
        place = self.place(scenario, "through")
        place.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        code = wait(start(self.words(scenario, "through", resume=False), place.parent / "log"), 600)
        if code != 0:
            raise SystemExit(f"{scenario.name}: the run that is never killed ended with {code}, see {place.parent}/log")
        self.seconds[scenario.name] = time.monotonic() - begun

    def chain(self, scenario: Scenario, name: str, kills: Sequence[tuple[str, int]], tally: Tally) -> None:
        """Kill a run several times, let it end, and compare.

        Args:
            scenario: The command.
            name: Name of the run.
            kills: Point and call of each kill; an empty point for a random moment.
            tally: Counts, changed in place.
        """
        log = self.place(scenario, "through").parent / "log"
        for number, (point, call) in enumerate(kills):
            words = self.words(scenario, name, resume=number > 0)
            pid = start(words, log, kill_at(point, call) if point else None)
            limit = 600 if point else self.random.uniform(0.1, 1.0) * self.seconds[scenario.name]
            code = wait(pid, limit)
            if code is None:
                group = self.random.random() < 1 / 3
                (os.killpg if group else os.kill)(pid, signal.SIGKILL)
                code = wait(pid, 60)
            if code == -signal.SIGKILL:
                tally.kills += 1
                tally.places[point or "at random"] += 1
            elif code:
                tally.faults.append(f"{name} ended with {code} after {number} kills")
                return
        code = wait(start(self.words(scenario, name, resume=True), log), 600)
        if code:
            tally.faults.append(f"{name} ended with {code}")
            return
        tally.finished += 1
        compare = differing_files if scenario.kind in ("index", "stream") else differences
        differing = compare(self.place(scenario, "through"), self.place(scenario, name))
        tally.same += not differing
        tally.faults += [f"{name}: {'; '.join(differing[:6])}"] if differing else []
        if not differing:
            shutil.rmtree(self.place(scenario, name))

    def draw(self, scenario: Scenario, count: int) -> list[tuple[str, int]]:
        """Points or moments of the kills of one run."""
        drawn = []
        for _ in range(count):
            inside = scenario.kind == "fit" and self.random.random() < 0.5
            point = self.random.choice(sorted(POINTS)) if inside else ""
            drawn.append((point, 1 if point == "in the report" else self.random.randint(1, 3)))
        return drawn


def prepare(driver: Driver) -> None:
    """A trained run and videos, for the scenarios that need some."""
    trained = Scenario("trained", tasks="ra_ssu")
    place = driver.folder / "trained"
    place.mkdir(parents=True, exist_ok=True)
    words = ["fit", "--tasks", trained.tasks, "--out", str(place), "--name", "run", *TINY, *ALONE]
    if wait(start(words, place / "log"), 600) != 0:
        raise SystemExit(f"the run for test, index and stream failed, see {place}/log")
    from avkit.media.write import write_video, write_wave

    videos = driver.folder / "videos"
    videos.mkdir(exist_ok=True)
    for number in range(3):
        picture = np.full((32, 32, 3), 40 * number, np.uint8)
        picture[8:24, 8:24, number] = 250
        wave = np.sin(np.arange(24 * 16_000, dtype=np.float32) * 0.05 * (number + 1))
        sound = write_wave(driver.folder / f"{number}.wav", wave)
        write_video(videos / f"{number}.mp4", [picture] * 48, 2.0, sound)


def table(tallies: dict[str, Tally]) -> str:
    """The counts of all scenarios in Markdown."""
    lines = ["| what is killed | kills | resumed to the end | the same | where |", "|---|--:|--:|--:|---|"]
    for name, tally in tallies.items():
        places = ", ".join(f"{count} {place}" for place, count in tally.places.most_common())
        lines.append(f"| {name} | {tally.kills} | {tally.finished} | {tally.same} | {places} |")
    sums = [sum(getattr(tally, name) for tally in tallies.values()) for name in ("kills", "finished", "same")]
    lines.append(f"| all | {sums[0]} | {sums[1]} | {sums[2]} | |")
    return "\n".join(lines)


def run_kills(driver: Driver, scenarios: Sequence[Scenario], kills: int) -> dict[str, Tally]:
    """Kill each scenario by its share of `kills`, three times per run, and print its line."""
    shares = sum(scenario.share for scenario in scenarios)
    tallies = {}
    for scenario in scenarios:
        tally = tallies.setdefault(scenario.name, Tally())
        driver.through(scenario)
        wanted = round(kills * scenario.share / shares)
        number = 0
        while tally.kills < wanted and number < 2 * wanted:
            number += 1
            driver.chain(scenario, f"killed{number}", driver.draw(scenario, min(3, wanted - tally.kills)), tally)
        print(f"{scenario.name}: {tally.kills} kills, {tally.same} of {tally.finished} the same", flush=True)
        for fault in tally.faults:
            print(f"  {fault}", flush=True)
        (driver.folder / "table.md").write_text(table(tallies), encoding="utf-8")
    return tallies


def run_points(driver: Driver) -> dict[str, Tally]:
    """The short form: one kill at each point, the second of two in one validation, in the simplest run."""
    scenario = Scenario("each point")
    tally = Tally()
    driver.through(scenario)
    for number, point in enumerate(POINTS):
        call = 1 if point == "in the report" else 2
        driver.chain(scenario, f"killed{number}", [(point, call)], tally)
    driver.chain(scenario, "twice", [("in validation", 1), ("in validation", 1), ("in validation", 3)], tally)
    return {scenario.name: tally}


def main() -> int:
    """Run; the exit code is 1 where a resumed run differs or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kills"), help="folder of runs and logs")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of scenarios, separated by semicolons")
    parser.add_argument("--short", action="store_true", help="one kill at each point, nothing at random")
    options = parser.parse_args()
    torch.set_num_threads(1)
    import avkit.cli.evaluate  # all that runs need, so that their forks have it
    import avkit.cli.fit  # noqa: F401

    driver = Driver(options.out.resolve(), options.seed)
    driver.folder.mkdir(parents=True, exist_ok=True)
    if options.short:
        tallies = run_points(driver)
    else:
        names = options.only.split(";") if options.only else [scenario.name for scenario in SCENARIOS]
        chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
        if any(scenario.kind != "fit" for scenario in chosen):
            prepare(driver)
        tallies = run_kills(driver, chosen, options.kills)
    print(table(tallies))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
