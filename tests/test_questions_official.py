# SPDX-License-Identifier: Apache-2.0
"""TSPM, PSTP-Net and AVST against what the authors' code gave, at whatever size it was recorded."""

import pytest
import torch
from golden import golden_cases
from recorded import Filled, check_gradients, check_weights

from avkit.batch import Batch, FeatureWidths, Vocabulary
from avkit.encoders.resnet import ResNet18, resnet_name
from avkit.systems import find_config, find_network
from avkit.systems.base import RunContext
from avkit.systems.pstp.selection import gather_regions, published_regions

FOLDER = "models/spatial/"
NAMES = {"TSPM": "tspm", "PSTP_Net": "pstp", "AVQA_Fusion_Net": "avst"}
TSPM = golden_cases(FOLDER + "tspm")
PSTP = golden_cases(FOLDER + "pstp")
AVST = golden_cases(FOLDER + "avst")
#: Relative tolerance of the loss before the first and later steps of training.
TOLERANCES = (1e-5, 1e-3, 1e-2)


def name_of(case):
    return NAMES[case.facts["model"].split(" ")[0]]


def network_of(case):
    options = {}
    if name_of(case) == "tspm":
        options = {"topk": case.config["top_k"]}
        options["patch_select"] = "first" if case.facts["official_as_published"] else "index"
    if name_of(case) == "pstp":
        options = {"segments": case.config["segs"], "topk": case.config["top_k"], "topm": case.config["top_m"]}
    weights = case.weights()
    if name_of(case) == "avst":
        pytest.importorskip("timm")
        words = len(weights["question_encoder.word2vec.weight"]) - 1
        if words != len(find_network("avst").build().question.index):
            options = {"words": [f"word {number}" for number in range(words)]}
    return find_network(name_of(case)).from_official(weights, **options).eval()


def answer(case, network, given):
    """The network's output of a case."""
    if name_of(case) == "tspm":
        texts = given["question"][:, 0], given["question_prompt"][:, 0]
        return network(given["audio"], given["visual"], given["visual_patch"], *texts)
    if name_of(case) == "pstp":
        return network(given["audio"], given["visual"], given["qst_word"], given["question"][:, 0])
    own, other = (given[name].flatten(3).transpose(2, 3) for name in ("visual_posi", "visual_nega"))
    return network(given["audio"], own, given["question"], other)


def check_stages(case, stages):
    """Every recorded stage is the network's, and each is one that the test knows."""
    assert case.facts["outputs"], "nothing is recorded"
    for name in case.facts["outputs"]:
        case.same(name, stages[name]())


@pytest.mark.parametrize("case", [*TSPM, *PSTP, *AVST])
def test_weights_are_filled_by_the_rule_and_every_key_comes_back(case):
    case = Filled(case)
    check_weights(case, network_of(case))


@pytest.mark.parametrize("case", TSPM)
def test_tspm_is_the_official_one(case):
    case = Filled(case)
    with torch.inference_mode():
        output = answer(case, network_of(case), case.inputs())
        stages = {
            "logits": lambda: output.logits,
            "temporal_weights": lambda: output.weights[:, None],
            "topk_index": lambda: output.chosen[:, None],
            "spatial_feat": lambda: output.spatial,
            "av_audio": lambda: output.cross_modal[0],
            "av_visual": lambda: output.cross_modal[1],
        }
        check_stages(case, stages)


@pytest.mark.parametrize("case", AVST)
def test_avst_is_the_official_one(case):
    case = Filled(case)
    network, given = network_of(case), case.inputs()

    def features_of_pictures():
        trunk = ResNet18(stride=16).eval()
        state = {k.removeprefix("visual_net."): x for k, x in case.weights().items() if k.startswith("visual_net")}
        trunk.load_state_dict({key: state[resnet_name(key)] for key in trunk.state_dict()})
        return trunk(given["image"])

    with torch.inference_mode():
        output = answer(case, network, given)
        stages = {
            "qa": lambda: output.logits,
            "match_posi": lambda: output.match,
            "match_nega": lambda: output.mismatch,
            "visual_net_feat": features_of_pictures,
        }
        check_stages(case, stages)


@pytest.mark.parametrize("case", PSTP)
def test_pstp_is_the_official_one(case):
    """Also what it selects, which runs in the authors' code and does not reach its output."""
    case = Filled(case)
    network, given = network_of(case), case.inputs()
    with torch.inference_mode():
        output = answer(case, network, given)
        audio, visual = network.audio_in(given["audio"]), network.visual_in(given["visual"])
        question = network.question_in(given["question"][:, 0])
        weights, segments = network.segment_selection(question, audio, visual)
        rows = torch.arange(len(question))[:, None]
        steps = network.segment_selection.steps_of(segments, audio.shape[1])
        places = network.region_in(given["patch"][rows, steps])
        indices, _ = network.region_selection(question, places)
        regions = gather_regions(places, published_regions(indices))
        stages = {
            "logits": lambda: output.logits,
            "global_self": lambda: output.sequence,
            "temporal_weights": lambda: weights[:, None],
            "topk_index": lambda: segments[:, None],
            "patch_topm": lambda: regions,
            "audio_guided": lambda: network.attend_to_regions(audio[rows, steps], regions),
        }
        check_stages(case, stages)


def system_of(case, network):
    """A system with the network of a case, for its criterion."""
    vocabulary = Vocabulary(answers=[f"answer {number}" for number in range(network.built_with["answers"])])
    sizes = network.built_with
    config = find_config(name_of(case))(width=8)
    if name_of(case) == "avst":
        config.width = 0
    tasks = config.make_tasks(["avqa"], vocabulary)
    context = RunContext(tasks, vocabulary, {"avqa": FeatureWidths(sizes["visual"], sizes["audio"])})
    system = config.build(context)
    system.network = network
    return system


def question_batch(system, given):
    answers = [system.answers[number] for number in given["target"].tolist()]
    batch, steps = given["audio"].shape[:2]
    return Batch(
        "avqa",
        [str(number) for number in range(batch)],
        torch.full((batch,), float(steps)),
        1.0,
        torch.ones(batch, steps, dtype=torch.bool),
        targets={"answer": answers, "question_type": ["x"] * batch},
    )


@pytest.mark.parametrize("case", [*TSPM, *PSTP, *AVST])
def test_questions_are_learnt_the_official_way(case):
    case = Filled(case)
    network, given = network_of(case), case.inputs()  # recorded with dropout off
    system = system_of(case, network)
    batch = question_batch(system, given)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    curves = [losses for name, losses in case.facts.items() if name.endswith("_losses_eval_mode")]
    assert curves
    for step, recorded in enumerate(curves[0]):
        losses = system.loss(answer(case, network, given), batch)
        assert losses["loss"].item() == pytest.approx(recorded, rel=TOLERANCES[min(step, 2)])
        optimizer.zero_grad()
        losses["loss"].backward()
        if step == 0:
            check_first_step(case, network, losses)
        optimizer.step()


def check_first_step(case, network, losses):
    recorded = {"loss_ce": "loss", "loss_total": "loss", "loss_qa": "answer", "loss_match": "pairs"}
    for name in recorded.keys() & case.facts.keys():
        assert losses[recorded[name]].item() == pytest.approx(case.facts[name], rel=1e-5), name
    if "grad_l2" in case.facts:
        check_gradients(case, network, "grad_l2")
