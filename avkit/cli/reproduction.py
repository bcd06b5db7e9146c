# SPDX-License-Identifier: Apache-2.0
"""The stages of a reproduction: check, convert, test or train, record, verdict; each is kept once it is whole."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from avkit.cli.experiment_claims import claim_for, release_of
from avkit.cli.reproduction_plan import annotation_hashes, requirements
from avkit.errors import DataError, RunError
from avkit.files import hold, release_lock, write_file
from avkit.leaderboard import Claim, Experiment, Record, Verdict, judge, read_records, write_records
from avkit.leaderboard.hashes import file_hash
from avkit.leaderboard.records import RECORDS

#: Where the figures of a reproduction come from.
Source: TypeAlias = Literal["weights", "training", "predictions"]
#: Digits of a hash in the name of a folder.
_DIGITS = 8
#: Name of the file with the verdict.
VERDICT = "verdict.json"


@dataclass
class Reproduction:
    """One way to reproduce an experiment.

    Its folder is named by what decides the outcome, so that other weights, data or options get another folder, and the
    same command goes on where it was stopped.

    Attributes:
        experiment: The experiment.
        source: Where its figures come from.
        root: Folder of the data; None on scenes.
        file: The weights, or the answers; None for a training and on scenes.
        seeds: Number of trainings.
        scenes: Whether scenes stand for the data.
        out: Folder of all reproductions.
        execution: Words of `avkit fit` that say where to run.
        trust: Whether parts from outside avkit may be imported.
    """

    experiment: Experiment
    source: Source
    root: Path | None
    file: Path | None
    seeds: int
    scenes: bool
    out: Path
    execution: list[str]
    trust: bool = False

    @cached_property
    def folder(self) -> Path:
        """Folder of this reproduction."""
        name = f"scenes-{self.source}" if self.scenes else self.source
        facts = [json.dumps(asdict(self.experiment), sort_keys=True), str(self.root and self.root.resolve())]
        if self.file is not None:
            facts.append(file_hash(self.file))
        facts += self._files_of_system()
        if self.root is not None and not self.scenes and self.source != "predictions":
            facts.append(json.dumps(annotation_hashes(self.experiment, self.root)))
        digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_DIGITS]
        return self.out / self.experiment.id / f"{name}-{digest}"

    def _files_of_system(self) -> list[str]:
        """Options that name a file which the system reads, each with the hash of that file."""
        from avkit.cli.given_options import last_value
        from avkit.cli.reproduce import is_file_of_system

        names = {word.partition("=")[0].removeprefix("--") for word in self.execution if word.startswith("--")}
        facts = []
        for name in sorted(filter(is_file_of_system, names)):
            value = str(last_value(self.execution, name))
            facts.append(f"{name} {file_hash(value) if Path(value).is_file() else value}")
        return facts

    def run(self) -> int:
        """Run the stages that are not done; returns the status of the verdict, on scenes 0.

        Raises:
            DataError: If data, features or weights are missing or damaged.
            RunError: If another process works on the same reproduction.
        """
        if self.file is not None and not self.file.is_file():
            raise DataError(f"There is no file {self.file}. Check its path.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._held():
            print(f"{self.experiment.id}: {self.experiment.paper}, {self.experiment.table}, {self.experiment.row}")
            if self.scenes:
                self._make_scenes()
            self._check()
            records = self._records()
            write_records(self.folder / RECORDS, records)
            status = self._judge(records)
        return 0 if self.scenes else status  # that all of it runs is what scenes are for

    @contextmanager
    def _held(self) -> Iterator[None]:
        try:
            lock = hold(self.folder / "lock")
        except BlockingIOError as e:
            raise RunError(f"{e} works on {self.folder}. Wait for it, or stop it first.") from e
        try:
            yield
        finally:
            release_lock(lock)

    def _make_scenes(self) -> None:
        from avkit.cli.reproduction_scenes import make_data

        self.root = make_data(self.experiment, self.folder / "scenes")
        print(f"data:     scenes in the layout of {self.experiment.dataset}, under {self.root}")

    def _check(self) -> None:
        """Refuse data that lack what the test reads, before anything is computed."""
        if self.source == "predictions":
            return
        missing = []
        for requirement in requirements(self.experiment, self.root):
            if requirement.here is False and not requirement.of_machine:
                missing.append(f"  {requirement.what}: {requirement.detail}")
            elif requirement.here and not requirement.of_machine:
                print(f"check:    {requirement.what}: {requirement.detail}")
        if missing:
            raise DataError("\n".join([f"{self.experiment.id} needs what is not there:", *missing]))

    def _records(self) -> list[Record]:
        """What was measured of the dataset that the row is about."""
        if self.source == "predictions":
            return self._of_predictions()
        if self.source == "training":
            return self._of_trainings()
        return self._of_weights()

    def _of_predictions(self) -> list[Record]:
        from avkit.cli.score_records import make_record
        from avkit.scoring import TruthOptions, score

        assert self.file is not None
        name = self.experiment.figures_of
        options = TruthOptions(root=self.root, release=release_of(self.experiment))
        result = score(self.file, name, self._task(), options=options)
        for fault in result.faults:
            print(f"fault:    {fault}")
        print(f"score:    {result.n:,} of {result.official_n or result.n:,} official samples of {name}, {result.split}")
        record = make_record(result, self.file, self.experiment.row, [])
        return [replace(record, experiment=self.experiment.id, command=self._command())]

    def _task(self) -> str | None:
        """The task that the figures are of; None for the usual one of the dataset."""
        tasks = self.experiment.all_options().get("tasks")
        names = str(tasks).split(",") if tasks else []
        return names[0] if len(names) == 1 else None

    def _of_weights(self) -> list[Record]:
        hashes: dict[str, str] = {}
        words: list[str] = []
        official = self.folder / "official.pth" if self.scenes else self.file
        if self.scenes and not self._is_tested("test"):
            self._make_weights(official)
        if official is not None and official.is_file():
            hashes["official weights"] = file_hash(official)
            words = ["--model.system.weights", str(self._convert(official))]
        self._fit("test", [*words, "--trainer.max_steps", "0"])
        return self._finished(self.folder / "test", hashes)

    def _make_weights(self, path: Path | None) -> None:
        """Write random weights in the authors' form, where the system has such a form."""
        from avkit.cli.reproduction_scenes import write_random_weights

        if path is not None and not path.exists() and write_random_weights(self._words(), path):
            print(f"weights:  random, in the authors' form: {path}")

    def _convert(self, official: Path) -> Path:
        """The weights in avkit's form; written once."""
        from avkit.cli.convert import run as convert
        from avkit.cli.reproduction_weights import is_converted, network_of, options_to_set, sizes_to_set

        if is_converted(official):
            return official
        converted = self.folder / "weights.safetensors"
        if not converted.exists():
            network = network_of(self.experiment)
            assignments = [*options_to_set(self.experiment, network), *sizes_to_set(official)]
            convert([network.name, str(official), "-o", str(converted), *assignments])
        return converted

    def _of_trainings(self) -> list[Record]:
        records = []
        for seed in range(self.seeds):
            name = f"seed-{seed}"
            steps = ["--trainer.max_epochs", "1", "--data.steps_per_epoch", "3"] if self.scenes else []
            self._fit(name, ["--seed_everything", str(seed), *steps])
            records += self._finished(self.folder / name, {})
        return records

    def _words(self) -> list[str]:
        """Words of `avkit fit` that every run of this reproduction has."""
        words = [*self.experiment.words(), "--data.root", str(self.root), *self.execution]
        if self.scenes:
            from avkit.cli.reproduction_scenes import small_words

            words += small_words(self.experiment, self.folder)
        return [*words, "--trust"] if self.trust else words

    def _is_tested(self, name: str) -> bool:
        return (self.folder / name / RECORDS).exists()

    def _fit(self, name: str, words: Sequence[str]) -> None:
        """Train and test a run of this folder, from where it was stopped."""
        from avkit.cli.fit import run as fit
        from avkit.cli.test import run as test
        from avkit.systems.encoder_weights import random_encoders
        from avkit.training.run_folder import RunFolder

        run = RunFolder(self.folder / name)
        if self._is_tested(name):
            print(f"test:     {run.path} is done")
            return
        untrained = "--trainer.max_steps" in words
        with random_encoders(allowed=self.scenes):
            if run.last.exists() and untrained:
                test([str(run.path)])
                return
            resumed = ["--ckpt_path", str(run.last)] if run.last.exists() else []
            if not resumed and run.path.exists():
                shutil.rmtree(run.path)  # it was stopped before anything was kept
            place = ["--out", str(self.folder), "--name", name]
            fit([*self._words(), *words, *place, *resumed])

    def _finished(self, run: Path, hashes: dict[str, str]) -> list[Record]:
        """The records of a run that are of the experiment's datasets, with what the run does not know."""
        records = []
        for record in read_records(run / RECORDS):
            if record.dataset == self.experiment.figures_of:
                known = {**record.hashes, **hashes}
                records.append(replace(record, experiment=self.experiment.id, hashes=known, command=self._command()))
        if not records:
            raise RunError(f"{run} was not tested on {self.experiment.figures_of}.")
        return records

    def _command(self) -> str:
        """The command that makes the figures again, with names for what lies elsewhere on another machine."""
        words = {
            "weights": "--weights OFFICIAL",
            "training": f"--train --seeds {self.seeds}",
            "predictions": "--predictions FILE",
        }[self.source]
        if self.scenes:
            return f"avkit reproduce {self.experiment.id} --scenes" + (" --train" if self.source == "training" else "")
        return f"avkit reproduce {self.experiment.id} --root ROOT {words}"

    def _judge(self, records: Sequence[Record]) -> int:
        """Print each figure beside the published one, write the verdict, and return its status."""
        verdict = judge(records, self._claim(records[0]))
        self._write(verdict)
        for comparison in verdict.comparisons:
            print(f"figure:   {comparison.sentence}")
        print(f"record:   {self.folder / RECORDS}")
        print(f"verdict:  {verdict.word}")
        for reason in verdict.reasons:
            print(f"          {reason}")
        return verdict.status

    def _claim(self, record: Record) -> Claim:
        """The published row; how its recipe differs says nothing of answers that were made elsewhere."""
        from avkit.cli.score_records import named_claim

        if self.source == "predictions":
            return named_claim(self.experiment.id, record).claim
        return claim_for(self.experiment, record.task)

    def _write(self, verdict: Verdict) -> None:
        facts = {
            "experiment": self.experiment.id,
            "verdict": verdict.word,
            "status": verdict.status,
            "reasons": list(verdict.reasons),
        }
        write_file(self.folder / VERDICT, json.dumps(facts, indent=1) + "\n")
