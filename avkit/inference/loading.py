# SPDX-License-Identifier: Apache-2.0
"""A trained run or a converted checkpoint, opened to be asked about videos."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avkit import __version__
from avkit.batch import FeatureWidths
from avkit.errors import RunError
from avkit.hub.run_files import PATTERNS, check_run_files
from avkit.inference.clip_result import ClipResult
from avkit.inference.converted import load_converted
from avkit.inference.expert_inputs import make_expert, split_expert_weights
from avkit.inference.index import FEATURES
from avkit.inference.predictor import Predictor
from avkit.inference.run_hops import read_hops
from avkit.inference.run_model import describe_weights, load_model
from avkit.inference.stored_inputs import StoredInputs
from avkit.inference.stream_choice import FeaturePlan, StreamChooser
from avkit.inference.zero_shot import ZERO_SHOT, load_zero_shot
from avkit.outside import Policy, restricted
from avkit.reading.copies import kept_copy
from avkit.reading.hub import HubError, no_downloads
from avkit.reading.remote import is_file, url_of
from avkit.reading.repository import fetch_repository, is_repository
from avkit.training.domain import OFFICIAL, domains_by_dataset
from avkit.training.run_copies import local_run
from avkit.training.run_folder import RunFolder
from avkit.training.run_licences import licence_notes
from avkit.training.stored_facts import StoredParts, read_record

#: Side of pictures in pixels for converted checkpoints, whose files do not tell it.
_USUAL_SIDE = 224
#: Digits of a hash that provenance names.
_DIGITS = 12
#: Name under which `weights` holds those of the encoder of questions.
TEXT = "text"


def load(
    run: Path | str,
    device: str | None = None,
    *,
    trust: bool = False,
    features: Sequence[str] | str | None = None,
    weights: str | None = None,
    names: str | None = None,
    parts: str | None = None,
    offline: bool = False,
    accept_licence: str = "",
    revision: str | None = None,
    expert: str | None = None,
) -> Predictor:
    """A trained run, from its folder or from a hub, a converted checkpoint, or `zero_shot`, which was not trained.

    Args:
        run: Folder that `avkit fit` made, or its URL; `owner/name` of a Hugging Face repository with the same files; a
            file that `avkit convert` wrote, or its URL; or `zero_shot`, public models and rules, see `load_zero_shot`.
        device: Such as `cpu` or `cuda:0`; the GPU if there is one, where None.
        trust: Import the parts from outside avkit that the run names, and say which. They are code of whoever made the
            run; without them, nothing of a run is executed.
        features: Recipes that make the stored features that it reads, names or files, joined by commas or as a list; by
            default those that fit what the run was trained on.
        weights: Weights of the recipes' encoders as `avkit extract --weights` takes them; `text=PATH` is that of a
            converted checkpoint's questions.
        names: Of a converted checkpoint: a file with the names of its classes or answers, one per line, or the folder
            of its dataset. Of `zero_shot`: a dataset, or a file with what may be named.
        parts: Of `zero_shot`: models and thresholds, such as `sound=ast,masks=none`.
        offline: Download nothing.
        accept_licence: Of `zero_shot`: licences that you accept, separated by commas.
        revision: Of a repository: branch, tag or commit; its main branch where None.
        expert: Recipe, a name or a file, that makes the features of the large vision-language model that the run was
            trained with (`data.features.expert`); without it captions are written without them. `weights` may name
            those of its stream.

    Raises:
        RunError: If it is no run, or its weights do not fit its config.
        UntrustedError: If it names parts from outside and is not trusted.
        DataError: If no recipe makes the stored features that it reads.
    """
    if is_zero_shot(run):
        if features is not None or expert is not None:
            raise ValueError(
                "zero_shot reads pictures and sound and no stored features. Leave --features and --expert out."
            )
        return load_zero_shot(
            device, weights=weights, names=names, parts=parts, offline=offline, accept_licence=accept_licence
        )
    if parts is not None or accept_licence:
        raise ValueError(f"parts and accept_licence are options of zero_shot. Leave them out for run {run}.")
    if revision is not None and not is_repository(str(run)):
        raise ValueError(f"{run} is no repository of a hub, so it has no revision. Leave revision out.")
    recipes = features.split(",") if isinstance(features, str) else list(features or [])
    recipes = [recipe.strip() for recipe in recipes if recipe.strip()]
    own_weights, text_weights = _split_text(weights)
    if is_file(run):
        predictor = _load_file(run, device, names, text_weights)
        stored: dict[str, StoredParts] = {}
    else:
        _refuse_converted_options(names, weights, run)
        with no_downloads(wanted=offline):
            folder = _find_run(str(run), revision)
        with restricted(Policy(trust=trust, folders=(folder.path,), source=f"run {run}")):
            predictor, stored = _load_run(str(run), folder, device)
    if expert is not None:
        own_weights = _add_expert(predictor, expert, own_weights)
    config = predictor.model.system.config
    chooser = StreamChooser(str(run), recipes, own_weights, config.published_inputs)
    with no_downloads(wanted=offline):
        _add_stored_inputs(predictor, chooser, stored)
    return predictor


def predict(
    run: Path | str,
    clip: Path | str,
    tasks: Sequence[str] | str | None = None,
    question: str | Sequence[str] | None = None,
    **options: Any,
) -> ClipResult:
    """What a trained run, or a converted checkpoint, answers about one video; keep `load` for several.

    Args:
        run: As in `load`.
        clip: Any video, or a still picture.
        tasks: Names, or all of the run where None.
        question: One question or several.
        **options: Others of `load`, such as `device`.

    Raises:
        AvkitError: If the run or the clip cannot be read.
        ValueError: If a task is not of this run, or needs a question and there is none.
    """
    return load(run, **options).predict(clip, tasks, question)


def is_zero_shot(run: Path | str) -> bool:
    """Whether the name of a run stands for the system without training: unless there is such a folder."""
    return str(run) == ZERO_SHOT and not Path(run).exists()


def _add_stored_inputs(predictor: Predictor, chooser: StreamChooser, parts: dict[str, StoredParts]) -> None:
    """Give a predictor what makes the stored features of its tasks."""
    for task, (visual, audio) in predictor.model.features.items():
        if visual or audio:
            plan = partial(chooser.plan, task, FeatureWidths(visual, audio), parts.get(task, {}))
            predictor.stored.add(task, plan, partial(_make_inputs, predictor, task))
    if not predictor.stored and (chooser.recipes or chooser.weights is not None):
        raise ValueError(
            f"{chooser.run} reads pictures and sound and no stored features. Leave --features and --weights out."
        )


def _add_expert(predictor: Predictor, recipe: str, weights: str | None) -> str | None:
    """Give a predictor what makes the features of its expert; returns the weights that are left for other streams."""
    reads_features = any(visual or audio for visual, audio in predictor.model.features.values())
    own, others = split_expert_weights(weights, recipe, others_exist=reads_features)
    predictor.expert = make_expert(predictor.source, recipe, predictor.model.expert, own, predictor.device)
    predictor.provenance[FEATURES + "the expert"] = predictor.expert.description
    return others


def _make_inputs(predictor: Predictor, task: str, plan: FeaturePlan) -> StoredInputs:
    """What makes the features of a plan, which the provenance of results names."""
    predictor.provenance[FEATURES + task] = plan.description
    return StoredInputs(plan, predictor.device, predictor.image_size)


def _load_file(run: Path | str, device: str | None, names: str | None, text_weights: str | None) -> Predictor:
    """The predictor of a converted checkpoint."""
    place = url_of(run) or str(run)
    path = kept_copy(run)
    model = load_converted(path, names, text_weights)
    predictor = Predictor(model, place, _USUAL_SIDE, device)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
    predictor.provenance = {"run": place, "weights": f"{path.name} sha256 {digest}", "avkit": __version__}
    predictor.domains = dict.fromkeys(model.tasks, OFFICIAL)
    vocabulary = model.vocabulary
    if names is None and (vocabulary.classes or vocabulary.answers):
        what = "answers" if vocabulary.answers else "classes"
        predictor.notes.append(
            f"The checkpoint does not name its {what}, so they are numbered; --names FILE gives them names."
        )
    return predictor


def _load_run(run: str, folder: RunFolder, device: str | None) -> tuple[Predictor, dict[str, StoredParts]]:
    """The predictor of a run that lies in a folder here, and what it knows of its stored features."""
    model, facts = load_model(folder)
    predictor = Predictor(model, run, facts["image_size"], device)
    predictor.folder = folder
    predictor.provenance = {"run": run, "weights": describe_weights(folder), "avkit": __version__}
    predictor.notes += licence_notes(folder)
    predictor.hops = read_hops(folder, facts)
    predictor.domains = facts.get("domains") or domains_by_dataset(facts["tasks"], facts["dataset"])
    return predictor, read_record(facts.get("stored") or {}, folder.facts)


def _split_text(weights: str | None) -> tuple[str | None, str | None]:
    """Weights of streams, and those of the encoder of questions, out of one option; `none` is meant for both."""
    if weights is None:
        return None, None
    own = []
    text = None
    for part in weights.split(","):
        name, _, value = part.rpartition("=")
        if name != TEXT:
            own.append(part)
        if name == TEXT or part == "none":
            text = value
    return ",".join(own) or None, text


def _refuse_converted_options(names: str | None, weights: str | None, run: Path | str) -> None:
    """Refuse options of converted checkpoints for a run, which knows its names and holds all of its weights."""
    if names is not None:
        raise ValueError(f"Run {run} knows the names of its classes and answers. Leave --names out.")
    if f"{TEXT}=" in (weights or ""):
        raise ValueError(f"Run {run} holds the weights of its own encoder of text. Leave '{TEXT}=' out of --weights.")


def _find_run(run: str, revision: str | None) -> RunFolder:
    """The folder of a run, downloaded if it is the name of a repository."""
    if url_of(run) is not None:
        return RunFolder(local_run(run, ".safetensors"))
    if not is_repository(run) or run.startswith("runs/"):
        return RunFolder(run)
    try:
        folder = fetch_repository(run, PATTERNS, revision)
    except HubError as e:
        raise RunError(f"{run} is no folder here, and the hub did not give it: {e}") from e
    return check_run_files(folder, run)
