# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL, LVS, TPAVI and AVSegFormer against what the authors' code gave."""

import pytest
import torch
import torch.nn.functional as F
from golden import golden_cases
from recorded import Filled, check_gradients, check_weights

from avkit.batch import Batch, Vocabulary
from avkit.nn.heatmap import resize_heatmaps
from avkit.nn.padding import scatter_steps
from avkit.systems import create_system, find_network
from avkit.systems.base import RunContext
from avkit.systems.ez_vsl.system import TEMPERATURE
from avkit.systems.lvs.network import tri_map
from avkit.systems.pictures import MaskNetOutput
from avkit.systems.sources import LocalizationOutput, ObjectPrior
from avkit.tasks import build_tasks

pytest.importorskip("timm")
FOLDER = "models/spatial/"
SOURCES = [*golden_cases(FOLDER + "ezvsl", but="ezvsl_object_prior"), *golden_cases(FOLDER + "lvs")]
MASKS = [*golden_cases(FOLDER + "tpavi"), *golden_cases(FOLDER + "avsegformer")]
NAMES = {
    "EZVSL": "ez_vsl",
    "AVENet": "lvs",
    "Pred_endecoder": "tpavi",
    "AVSegFormer": "avsegformer",
}


def slowly(cases):
    """The same cases, for whoever asks for slow tests."""
    return [pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.slow]) for case in cases]


def name_of(case):
    return NAMES[case.facts["model"].split(" ")[0]]


def network_of(case):
    return find_network(name_of(case)).from_official(case.weights()).eval()


@pytest.mark.parametrize("case", [*SOURCES, *slowly(MASKS)])
def test_weights_are_filled_by_the_rule_and_every_key_comes_back(case):
    case = Filled(case)
    check_weights(case, network_of(case))


def system_of(name, task, **options):
    """A small system of one task, for its criterion and its predictions."""
    return create_system(name, RunContext(build_tasks([task], Vocabulary()), Vocabulary()), **options)


def source_batch(given):
    count = len(given["image"])
    valid = torch.ones(count, 1, dtype=torch.bool)
    return Batch("ssl", [str(i) for i in range(count)], torch.full((count,), 3.0), 3.0, valid)


@pytest.mark.parametrize("case", SOURCES)
def test_sources_are_the_official_ones(case):
    case = Filled(case)
    network, given = network_of(case), case.inputs()
    positions = network.embed_pictures(given["image"])
    sounds = network.embed_sounds(given["audio"])
    output = LocalizationOutput(sounds[:, None], positions.permute(0, 2, 3, 1)[:, None])
    batch = source_batch(given)
    if name_of(case) == "lvs":
        maps = tri_map(sounds, positions.permute(0, 2, 3, 1))
        case.same("A", maps.similarity[:, None])
        case.same("Pos", maps.positive[:, None])
        case.same("Neg", maps.negative[:, None])
        case.same("logits", maps.logits)
        loss = system_of("lvs", "ssl").loss(output, batch)["loss"]
        assert loss.item() == pytest.approx(case.facts["loss_ce0"], rel=1e-4)
    else:
        system = system_of("ez_vsl", "ssl", width=8)
        heat = system.predict(output, batch)["heat"][:, 0]
        case.same("Savl", heat / TEMPERATURE)
        case.same("img_proj", network.visual_out(network.picture(given["image"])))
        case.same("aud_proj", network.audio_out(network.sound(given["audio"]).amax((2, 3))))
        case.same("map224_test", resize_heatmaps(heat / TEMPERATURE)[:, None])
        coarse = heat[:, None] / TEMPERATURE
        case.same("map224_val", F.interpolate(coarse, (224, 224), mode="bicubic", align_corners=False))
        loss = system.loss(output, batch)["loss"]
        assert loss.item() == pytest.approx(case.facts["loss_eval_mode"], rel=1e-5)
    loss.backward()
    check_gradients(case, network, "grad_l2")


@pytest.mark.parametrize("case", golden_cases(FOLDER + "ezvsl", but="ezvsl_object_prior"))
def test_ez_vsl_trains_the_official_way(case):
    case = Filled(case)
    network, given = network_of(case).train(), case.inputs()
    system = system_of("ez_vsl", "ssl", width=8)
    batch = source_batch(given)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for step, wanted in enumerate(case.facts["adam3_losses_train_mode"]):
        positions = network.embed_pictures(given["image"])
        sounds = network.embed_sounds(given["audio"])
        output = LocalizationOutput(sounds[:, None], positions.permute(0, 2, 3, 1)[:, None])
        loss = system.loss(output, batch)["loss"]
        if step == 0:
            assert loss.item() == pytest.approx(wanted, rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    buffers = {network.official_name(key): x for key, x in network.named_buffers()}
    for key, (mean, std) in case.facts["bn_after_train"].items():
        assert float(buffers[key].mean()) == pytest.approx(mean, rel=2e-2, abs=1e-3), key
        assert float(buffers[key].std()) == pytest.approx(std, rel=5e-2, abs=1e-3), key


@pytest.mark.parametrize("case", golden_cases(FOLDER + "ezvsl_object_prior"))
def test_objects_are_the_official_ones(case):
    case = Filled(case)
    prior = ObjectPrior().eval()
    prior.trunk.network.load_state_dict({k: x for k, x in case.weights().items() if not k.startswith("fc.")})
    case.same("Sobj", prior(case.inputs()["image"])[:, None])


def masks_of(case, network, given):
    """Output of a case of masks, as the criterion takes it, with the recorded stages."""
    steps = case.config["frames_per_video"]
    maps = network.visual.network(given["frames"])
    if name_of(case) == "tpavi":
        audio = given["audio_feature"].unflatten(0, (-1, steps))
        out = network([x.unflatten(0, (-1, steps)) for x in maps], audio)
        return MaskNetOutput(out.logits, None, out.maps, [x.flatten(0, 1) for x in out.audio]), (out, maps)
    audio = network.audio.network(given["audio"])
    out = network(maps, audio)
    valid = torch.ones(len(audio) // steps, steps, dtype=torch.bool)
    return MaskNetOutput(scatter_steps(out.logits, valid), scatter_steps(out.features, valid)), (out, audio)


def mask_batch(given, known):
    """True masks; where only the first step of a clip is known, the mask that was recorded for it."""
    masks = given["masks_five"].unflatten(0, known.shape)[:, :, 0].clone()
    if not known.all():
        masks[:, 0] = given["mask_first"][:, 0, 0]
    size = torch.zeros(*known.shape, 3, 1, 1).expand(-1, -1, -1, *masks.shape[-2:])
    ids = [str(number) for number in range(len(known))]
    duration = torch.full((len(known),), float(known.shape[1]))
    targets = {"mask": masks, "mask_known": known}
    return Batch("avs", ids, duration, 1.0, torch.ones_like(known), size, targets=targets)


@pytest.mark.parametrize("case", MASKS)
@pytest.mark.parametrize("learn", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_masks_are_the_official_ones(case, learn):
    case = Filled(case)
    network, given = network_of(case), case.inputs()
    with torch.set_grad_enabled(learn):
        output, (stages, inputs) = masks_of(case, network, given)
    case.same("pred", output.logits.flatten(0, 1))
    if name_of(case) == "tpavi":
        for number, maps in enumerate(stages.maps):
            case.same(f"map{number + 1}", maps)
            case.same(f"audio{number + 1}", stages.audio[number])
            case.same(f"pvt{number + 1}", inputs[number])
    else:
        case.same("vggish", inputs)
        case.same("mask_feature", stages.features)
        case.same("memory", stages.memory)
        case.same("decoder", stages.queries)
        case.same("query", network.head.make_queries(network.audio_in(inputs)[:, None]))
    every = torch.ones(output.logits.shape[:2], dtype=torch.bool)
    first = torch.zeros_like(every)
    first[:, 0] = True
    for number, (mode, known) in enumerate({"s4": first, "ms3": every}.items()):
        losses = criterion_of(case, mode).loss(output, mask_batch(given, known))
        name = "loss_ms3_total" if mode == "ms3" and name_of(case) == "tpavi" else f"loss_{mode}"
        assert losses["loss"].item() == pytest.approx(case.facts[name], rel=1e-5)
        if learn and f"grad_l2_{mode}" in case.facts:
            network.zero_grad(set_to_none=True)
            losses["loss"].backward(retain_graph=number == 0)
            check_gradients(case, network, f"grad_l2_{mode}")


def criterion_of(case, mode):
    """The system whose loss a case was recorded with."""
    if name_of(case) == "tpavi":
        return system_of("tpavi", "avs", match=0.5 if mode == "ms3" else 0.0)
    return system_of("avsegformer", "avs", width=16, layers=1, audio_layers=1)
