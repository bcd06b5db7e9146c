# SPDX-License-Identifier: Apache-2.0
"""Predictions of a file scored by the official metrics, with what the file lacks or has too much of."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from avkit.answers.encoding import Record
from avkit.datasets.official import Official
from avkit.datasets.published_files import changed_files
from avkit.errors import AvkitError, DataError, FileError
from avkit.scoring.elsewhere import ForeignIds, other_counts
from avkit.scoring.formats import detect_format, find_format
from avkit.scoring.predictions import PlacedRecord, read_predictions
from avkit.scoring.result import Score
from avkit.scoring.truth import Truth, TruthOptions, open_truth
from avkit.training.evaluator import Evaluator

#: Samples that are scored at once where the file does not say which were.
_BATCH = 8
#: Faults that are kept as sentences; more are counted.
_MAX_FAULTS = 20


def score(
    path: str | Path,
    dataset: str | None = None,
    task: str | None = None,
    *,
    options: TruthOptions | None = None,
    format: str | None = None,
    allow_partial: bool = False,
    task_options: Mapping[str, object] | None = None,
) -> Score:
    """Score a file of predictions by the official metrics.

    Samples without a prediction are scored as the official code scores nothing, see `Task.if_absent`; the figures are
    then those of no published table.

    Args:
        path: File or folder of predictions, in one of the forms of `avkit.scoring.formats`.
        dataset: Name of the dataset; None where the file says it, as those of avkit do.
        task: Name of the task; None where the file says it, or for the usual one of the dataset.
        options: Where the official files are, and which split and release is scored.
        format: Name of the form; None to find it out.
        allow_partial: Score the samples that have a prediction alone.
        task_options: Options of the task, such as `protocol="lvs"` of `ssl`.

    Raises:
        ValueError: If a name is unknown, or dataset or task is neither given nor said by the file.
        DataError: If the file or the official files cannot be read, or no sample has a prediction.
    """
    path = Path(path)
    options = options or TruthOptions()
    if not path.exists():
        raise FileError(f"{path} does not exist. Check the spelling of the path.")
    first = _first_record(path, task)
    dataset = dataset or _text(first, "dataset")
    if not dataset:
        raise ValueError(f"{path} does not say of which dataset it is. Name it with --dataset NAME.")
    truth = open_truth(task or _text(first, "task"), dataset, _with_size(options, first))
    truth = truth.with_options(task_options or {})
    form = find_format(format) if format else detect_format(path, truth)
    of_file = {**truth.task.options_of_record(first), **form.task_options(truth)}
    truth = truth.with_options({**of_file, **(task_options or {})})
    result = score_records(form.read(path, truth), truth, dataset, allow_partial=allow_partial, path=path)
    result.format = form.name
    return result


def score_records(
    records: Iterable[PlacedRecord | FileError],
    truth: Truth,
    dataset: str,
    *,
    allow_partial: bool = False,
    path: str | Path = "the file",
) -> Score:
    """Score records, in their order and in the batches that they name; see `score`.

    Raises:
        DataError: If no sample has a prediction; with the first faults.
    """
    name = truth.task.name
    evaluator = Evaluator({name: truth.task})
    reading = _Reading(truth, evaluator)
    for group in _grouped(reading.accepted(records)):
        reading.score(group)
    reading.close(path)
    missing = [sample for sample in truth.ids if sample not in reading.scored]
    absent = ""
    if missing and not allow_partial:
        absent = truth.task.if_absent
        _score_absent(evaluator, truth, missing)
    elif missing:
        absent = "left out"
    rows = evaluator.compute_rows(name)
    order = [*truth.task.headline, *(figure for figure in rows if figure not in truth.task.headline)]
    notes = [f"{figure}: {note}" for figure, note in evaluator.notes(name).items()]
    return Score(
        task=truth.task,
        dataset=dataset,
        release=truth.release,
        split=truth.dataset.listed_split or truth.split,
        rows={figure: rows[figure] for figure in order if figure in rows},
        n=len(reading.scored),
        listed=len(truth.ids),
        official_n=truth.official_n,
        absent=absent,
        faults=reading.faults,
        more_faults=reading.more_faults,
        notes=[*truth.dataset.notes, *truth.notes, *reading.notes, *notes],
        protocol=_protocol(truth),
        annotations=truth.dataset.annotation_files,
        changed=changed_files(truth.dataset) if isinstance(truth.dataset, Official) else (),
        generated=truth.dataset.generated,
    )


class _Reading:
    """Takes records one by one and keeps account of what cannot be scored.

    Args:
        truth: The samples that are scored.
        evaluator: What scores them.

    Attributes:
        scored: Samples that have a prediction.
        faults: Faults as sentences.
        more_faults: Faults beyond those.
        notes: Remarks that are no faults.
    """

    def __init__(self, truth: Truth, evaluator: Evaluator) -> None:
        self.truth = truth
        self.evaluator = evaluator
        self.scored: set[str] = set()
        self.faults: list[str] = []
        self.more_faults = 0
        self.notes: list[str] = []
        self._ids = set(truth.ids)
        self._places: dict[str, str] = {}
        self._foreign = ForeignIds(truth)
        #: Entries that name a sample, of whatever list.
        self._entries = 0

    def accepted(self, records: Iterable[PlacedRecord | FileError]) -> Iterator[PlacedRecord]:
        """Records of samples that are scored, each sample once."""
        for record in records:
            if isinstance(record, FileError):
                self.add_fault(str(record))
            elif self._fits(record):
                yield record

    def _fits(self, record: PlacedRecord) -> bool:
        name = record.values["id"]
        self._entries += 1
        if name not in self._ids:
            fault = self._foreign.add(name, record.where)
            if fault:
                self.add_fault(fault)
            return False
        if name in self._places:
            self.add_fault(f"{record.where}: sample {name!r} stands twice, first at {self._places[name]}.")
            return False
        self._places[name] = record.where
        return True

    def score(self, group: list[PlacedRecord]) -> None:
        """Score records side by side; one by one where one of them does not fit."""
        batch = self.truth.batch([record.values["id"] for record in group])
        try:
            prediction = self.truth.task.prediction([record.values for record in group], batch)
            self.evaluator.update(prediction, batch)
        except ValueError as error:  # metrics change nothing before they have checked all
            if len(group) == 1:
                self.add_fault(f"{group[0].where}: {error}")
                return
            for record in group:
                self.score([record])
            return
        self.scored.update(batch.id)

    def add_fault(self, sentence: str) -> None:
        """Keep a fault, or count it where there are many."""
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(sentence)
        else:
            self.more_faults += 1

    def close(self, path: str | Path) -> None:
        """Say what is known of ids that are not scored.

        Raises:
            DataError: If no sample has a prediction.
        """
        sentences = self._foreign.summary(path)
        if not self.scored:
            known = [*sentences, *self.truth.notes, *self.faults[:3]]
            raise DataError(
                " ".join(known) or f"{path} holds no prediction for {self.truth.title}. Look at the file and --format."
            )
        self.notes += sentences
        if self.faults:
            self.notes += other_counts(self.truth, self._entries + len(self.faults) + self.more_faults)


def _protocol(truth: Truth) -> dict[str, str]:
    """How the metrics are set."""
    protocol = dict(truth.task.metric_protocol())
    if "mask" in truth.fields:
        protocol["picture size"] = f"{truth.item(truth.ids[0], 'mask').targets['mask'].shape[-1]} pixels"
    return protocol


def _grouped(records: Iterable[PlacedRecord]) -> Iterator[list[PlacedRecord]]:
    """Records that were scored in one batch, by their `batch`; where they do not say it, some at a time."""
    group: list[PlacedRecord] = []
    for record in records:
        number = record.values.get("batch")
        full = number is None and len(group) >= _BATCH
        if group and (full or group[-1].values.get("batch") != number):
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _score_absent(evaluator: Evaluator, truth: Truth, missing: list[str]) -> None:
    """Score samples without a prediction as their task says."""
    for start in range(0, len(missing), _BATCH):
        batch = truth.batch(missing[start : start + _BATCH])
        records = truth.task.absent(batch)
        if records:
            evaluator.update(truth.task.prediction(records, batch), batch)


def _first_record(path: Path, task: str | None) -> Record:
    """The first record of a file of avkit that is of the task; empty for any other file."""
    if not path.is_file():
        return {}
    try:
        for line in read_predictions(path):
            if not isinstance(line, PlacedRecord) or "task" not in line.values:
                break
            if task in (None, line.values["task"]):
                return line.values
    except AvkitError:
        pass
    return {}


def _text(record: Record, key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def _with_size(options: TruthOptions, first: Record) -> TruthOptions:
    """Options with the size of true masks that a record was made for, where none is given."""
    if options.image_size is not None:
        return options
    size = first.get("size")
    masks = first.get("masks")
    if isinstance(masks, list) and masks and isinstance(masks[0], dict):
        size = masks[0].get("size")
    if isinstance(size, list) and len(size) == 2 and type(size[0]) is int and 0 < size[0] == size[1] <= 4096:
        return replace(options, image_size=size[0])
    return options
