# SPDX-License-Identifier: Apache-2.0
"""The published row that belongs to each benchmark of a tested run, and the verdict on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from avkit.cli.changed_options import all_options, default_options
from avkit.cli.experiment_claims import claim_for
from avkit.cli.trainer import AVCLI
from avkit.leaderboard.claims import best_claim
from avkit.leaderboard.experiments import Experiment, read_experiments
from avkit.leaderboard.matching import Match, RunOptions, leaves, match_experiment
from avkit.leaderboard.records import Record
from avkit.leaderboard.verdicts import Claim, Verdict, judge
from avkit.report import Row
from avkit.report.records import ReportVerdict
from avkit.training.run_folder import RunFolder

#: Differences from a recipe that a verdict names.
_MAX_DIFFERENCES = 4


@dataclass(frozen=True)
class JudgedRecord:
    """A record with the published row that belongs to it.

    Attributes:
        record: The record; its experiment is that of the run's recipe.
        claim: The row of that experiment, or of the one that the run comes nearest to, or the best published one; None
            where there is none, and always for scenes.
        verdict: What the comparison comes to; None without a row.
    """

    record: Record
    claim: Claim | None = None
    verdict: Verdict | None = None

    def for_report(self) -> ReportVerdict | None:
        """The verdict as a report shows it; None without one."""
        if self.claim is None or self.verdict is None:
            return None
        published = f"{self.claim.name} ({self.claim.source})"
        verdict = self.verdict
        record = self.record
        return ReportVerdict(
            record.task, record.dataset, verdict.word, verdict.reasons, verdict.status, published, record.experiment
        )


def judge_records(cli: AVCLI, run_folder: RunFolder, records: Sequence[Record]) -> list[JudgedRecord]:
    """Records with their experiments, and a verdict on each.

    Args:
        cli: Trainer, model and data of the test.
        run_folder: Folder of the run.
        records: What was measured.
    """
    if all(record.by == "scenes" for record in records):
        return [JudgedRecord(record) for record in records]
    options = all_options(cli, run_folder)
    defaults = default_options(cli)
    changed = [name for name, value in options.items() if name not in defaults or defaults[name] != value]
    experiments = read_experiments()
    judged = []
    for record in records:
        run = RunOptions(options, changed, list(cli.model.tasks), cli.datamodule.all_datasets, record.by)
        match = match_experiment(run, experiments, record.task, record.dataset, list(record.figures))
        judged.append(_judge(cli, record, match))
    return judged


def _judge(cli: AVCLI, record: Record, match: Match | None) -> JudgedRecord:
    if record.by == "scenes" or record.official_n is None:
        return JudgedRecord(record)
    if match is None:
        return _beside_best(record)
    claim = claim_for(match.experiment, record.task)
    texts = _differing_feature_options(cli, match.experiment, claim)
    differences = (*match.differences, *texts)
    if not differences:
        experiment = match.experiment
        record = replace(record, experiment=experiment.id, differs=list(experiment.differs))
        return JudgedRecord(record, claim, judge([record], claim))
    if not set(match.experiment.recipe) <= set(record.recipe):
        return _beside_best(record)
    verdict = judge([record], claim)
    reasons = verdict.reasons if verdict.word == "not comparable" else ()
    more = len(differences) - _MAX_DIFFERENCES
    shown = (*differences[:_MAX_DIFFERENCES], f"{more} more") if more > 0 else differences
    recipe = " and ".join(match.experiment.recipe)
    return JudgedRecord(record, claim, Verdict("not comparable", (*reasons, f"not the recipe {recipe}", *shown)))


def _beside_best(record: Record) -> JudgedRecord:
    """A record of no experiment, beside the best published row."""
    claim = best_claim(record.task, record.dataset, record.release, record.split, list(record.figures))
    return JudgedRecord(record, claim, None if claim is None else judge([record], claim))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _differing_feature_options(cli: AVCLI, experiment: Experiment, claim: Claim) -> list[str]:
    """Options of features that differ from the recipe's, where it names features that are not released."""
    options = dict(leaves(experiment.all_options()))
    differences = []
    for modality in ("visual", "audio", "expert"):
        expected = _text(options.get(f"data.features.{modality}"))
        given = _text(cli.config.get(f"data.features.{modality}"))
        if modality not in claim.features and expected != given:
            differences.append(f"data.features.{modality} {given or 'none'}, and the recipe has {expected or 'none'}")
    return differences


def with_published(rows: Sequence[Row], judged: Sequence[JudgedRecord]) -> list[Row]:
    """Rows with the published figures beside them."""
    claims = {(entry.record.task, entry.record.dataset): entry for entry in judged}
    filled = []
    for row in rows:
        entry = claims.get((row.task, row.dataset))
        printed = None
        if entry is not None and entry.claim is not None:
            printed = entry.claim.figures.get(row.metric)
        if entry is None or entry.claim is None or entry.verdict is None or printed is None:
            filled.append(row)
            continue
        source = f"{entry.claim.name}, {entry.claim.source}"
        comparable = entry.verdict.word != "not comparable"
        filled.append(replace(row, published=printed.value, source=source, comparable=comparable))
    return filled
