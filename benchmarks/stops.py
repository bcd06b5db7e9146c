# SPDX-License-Identifier: Apache-2.0
"""Stops commands by Ctrl-C and SIGTERM at random moments, or kills their helper processes, and starts them again.

A stopped command ends with 130 or 143 and one line, leaves no process and no temporary file, and what it made after
it was started again equals what one makes that was never stopped. A command whose helpers are killed with -9 goes on,
or ends with one line. Usage: python benchmarks/stops.py [--stops 20] [--only COMMAND] [--out FOLDER]
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from kills import ALONE, TINY, Driver, prepare, start, wait
from same_run import differences, differing_files

#: A recipe of features without weights.
RECIPE = """about: small networks with random weights
streams:
  frame: {of: pictures, encoder: small, weights: null, resize: 32, crop: 32}
"""
COMMANDS = ("import", "extract", "predict", "stream", "index", "test", "fit")
#: Seconds that helpers get to end after the command.
_PATIENCE = 2.0


def words(command: str, driver: Driver, place: Path) -> list[str]:
    """The words of a command that writes to a place."""
    trained = str(driver.folder / "trained" / "run")
    videos = driver.folder / "videos"
    many = driver.folder / "many"
    quiet = ["--trainer.enable_progress_bar", "false"]
    return {
        "import": ["import", "coco", str(driver.folder / "coco.json"), "-o", str(place / "m.jsonl"), "--overwrite"],
        "extract": [
            *("extract", str(many), "--recipe", str(driver.folder / "tiny.yaml"), "--out", str(place)),
            *("--workers", "2", "--device", "cpu"),
        ],
        "predict": ["predict", trained, str(videos), "--out", str(place), "--device", "cpu"],
        "stream": ["predict", trained, str(videos / "0.mp4"), "--stream", "--out", str(place), "--device", "cpu"],
        "index": ["index", trained, str(videos), "--out", str(place), "--device", "cpu"],
        "test": ["test", str(place), *quiet],
        "fit": ["fit", "--tasks", "avs", "--out", str(place.parent), "--name", place.name, *TINY, *ALONE],
    }[command]


def prepare_files(driver: Driver) -> None:
    """What `import` and `extract` read."""
    from PIL import Image

    from avkit.media.write import write_wave

    driver.folder.joinpath("tiny.yaml").write_text(RECIPE, encoding="utf-8")
    many = driver.folder / "many"
    many.mkdir(exist_ok=True)
    for number in range(24):
        shutil.copy(driver.folder / "videos" / f"{number % 3}.mp4", many / f"clip{number}.mp4")
    images = []
    annotations = []
    for number in range(60):
        Image.new("RGB", (64, 64), (number, 90, 90)).save(driver.folder / f"p{number}.png")
        write_wave(driver.folder / f"p{number}.wav", np.sin(np.arange(16_000, dtype=np.float32) / 9))
        images.append({"id": number, "file_name": f"p{number}.png", "height": 64, "width": 64})
        corners = [8, 4, 24, 4, 24, 20 + number % 40, 8, 20]
        annotations.append({"image_id": number, "category_id": 1, "segmentation": [corners]})
    content = {"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": annotations}
    (driver.folder / "coco.json").write_text(json.dumps(content), encoding="utf-8")


def processes_of(session: int) -> list[int]:
    """Processes of a session that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.name))
    return found


def is_tracker(pid: int) -> bool:
    """Whether a process is Python's own keeper of semaphores, whose successor prints tracebacks of its own."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def temporary_files(place: Path) -> list[str]:
    """Hidden files in a place and beside it; parts and record of an extraction that goes on are no such files."""
    names = [path.name for path in [*place.rglob(".*"), *place.parent.glob(".*")]]
    return [name for name in names if not name.endswith("-parts") and name != ".origins.json"]


class Trial:
    """One command in a folder of its own.

    Args:
        driver: Folder, seed and helpers.
        command: The command's name.
    """

    def __init__(self, driver: Driver, command: str) -> None:
        self.driver = driver
        self.command = command
        self.folder = driver.folder / "stops" / command
        self.folder.mkdir(parents=True, exist_ok=True)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def place(self, name: str) -> Path:
        """An empty place, or a copy of the trained run where that is tested."""
        place = self.folder / name / "result"
        place.parent.mkdir(parents=True, exist_ok=True)
        if self.command == "test" and not place.exists():
            shutil.copytree(self.driver.folder / "trained" / "run", place)
        return place

    def begin(self, place: Path, log: Path) -> int:
        """Start the command."""
        return start(words(self.command, self.driver, place), log)

    def through(self) -> None:
        """The command that nothing stops."""
        begun = time.monotonic()
        code = wait(self.begin(self.place("through"), self.folder / "through.log"), 600)
        if code != 0:
            raise SystemExit(f"{self.command} ended with {code}, see {self.folder}/through.log")
        self.seconds = time.monotonic() - begun

    def stop(self, name: str, number: int) -> None:
        """Stop the command once, and compare what it makes when it is started again."""
        place = self.place(name)
        log = self.folder / f"{name}.log"
        pid = self.begin(place, log)
        code = wait(pid, self.driver.random.uniform(0.02, 1.0) * self.seconds)
        if code is None:
            whole_group = self.driver.random.random() < 0.5  # as a terminal does
            (os.killpg if whole_group else os.kill)(pid, number)
            code = wait(pid, 60)
            self.counts["stopped"] += code in (130, 143)
            self._check_end(name, pid, code, log, 128 + number)
            left = temporary_files(place)
            if left:
                self.faults.append(f"{name}: left {left}")
        self._compare(name, place, log)

    def kill_helpers(self, name: str) -> None:
        """Kill the command's helper processes with -9 once, and compare what it makes."""
        place = self.place(name)
        log = self.folder / f"{name}.log"
        pid = self.begin(place, log)
        code = wait(pid, self.driver.random.uniform(0.2, 0.9) * self.seconds)
        helpers = [] if code is not None else [other for other in processes_of(pid) if other != pid]
        helpers = [other for other in helpers if not is_tracker(other)]
        chosen = self.driver.random.sample(helpers, min(len(helpers), self.driver.random.randint(1, 3)))
        for helper in chosen:
            self.counts["helpers killed"] += 1
            os.kill(helper, signal.SIGKILL)
        code = wait(pid, 120) if code is None else code
        self.counts["went on"] += bool(chosen) and code == 0
        if code != 0:
            self._check_end(name, pid, code, log, code or 0)
        self._compare(name, place, log)

    def _check_end(self, name: str, pid: int, code: int | None, log: Path, wanted: int) -> None:
        text = log.read_text(encoding="utf-8", errors="replace")
        if code not in (wanted, 0):
            self.faults.append(f"{name}: ended with {code}, not {wanted}")
        line = f"avkit {words_name(self.command)}: "
        ended = f"{line}stopped by " if wanted > 128 else line
        if "Traceback" in text or (code == wanted and text.count(ended) != 1):
            self.faults.append(f"{name}: no single line: {text[-300:]!r}")
        until = time.monotonic() + _PATIENCE
        while processes_of(pid) and time.monotonic() < until:
            time.sleep(0.05)
        if processes_of(pid):
            self.faults.append(f"{name}: processes live on: {processes_of(pid)}")

    def _compare(self, name: str, place: Path, log: Path) -> None:
        if self.command == "fit":
            shutil.rmtree(place, ignore_errors=True)  # resuming is what kills.py tries
            self.counts["the same"] += 1
            return
        log = log.with_suffix(".again.log")
        code = wait(self.begin(place, log), 600)
        compare = differences if self.command == "test" else differing_files
        differing = compare(self.folder / "through" / "result", place) if code == 0 else [f"ended with {code}"]
        left = temporary_files(place)
        self.counts["the same"] += not differing and not left
        if differing or left:
            self.faults.append(f"{name}, started again: {differing[:5]} {left}")


def words_name(command: str) -> str:
    """The command as its messages name it."""
    return "predict" if command == "stream" else command


def main() -> int:
    """Run; the exit code is 1 where something is left or differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("stops"), help="folder of runs and logs")
    parser.add_argument("--stops", type=int, default=20, help="stops of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of commands, separated by commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    import avkit.cli.evaluate
    import avkit.cli.fit  # noqa: F401

    driver = Driver(options.out.resolve(), options.seed)
    driver.random = random.Random(options.seed)
    driver.folder.mkdir(parents=True, exist_ok=True)
    prepare(driver)
    prepare_files(driver)
    faults = []
    print("| command | stopped | helpers killed | went on | the same in the end |\n|---|--:|--:|--:|--:|")
    for command in options.only.split(",") if options.only else COMMANDS:
        trial = Trial(driver, command)
        trial.through()
        for number in range(options.stops):
            trial.stop(f"stop{number}", (signal.SIGINT, signal.SIGTERM)[number % 2])
        if command == "extract":
            for number in range(options.stops):
                trial.kill_helpers(f"helpers{number}")
        counts = [trial.counts[name] for name in ("stopped", "helpers killed", "went on", "the same")]
        print(f"| {command} | {' | '.join(map(str, counts))} |", flush=True)
        faults += [f"{command} {fault}" for fault in trial.faults]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
