# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL, LVS, TPAVI and AVSegFormer against what the authors' code gave."""

import pytest
import torch
import torch.nn.functional as F
from golden import golden_cases
from recorded import Filled, check_gradients, check_weights

from avkit.batch import Batch, Vocabulary
from avkit.nn.heatmap import resize_heatmaps
from avkit.systems import find_network
from avkit.systems.ez_vsl.network import EasyPairs
from avkit.systems.lvs.network import HardPairs, tri_map
from avkit.systems.masks_task import MaskNetOutput, MatchedMasks, MixedMasks
from avkit.systems.sources import ObjectPrior, SourceOutput

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


def source_batch(given):
    count = len(given["image"])
    valid = torch.ones(count, 1, dtype=torch.bool)
    return Batch("ssl", [str(i) for i in range(count)], torch.full((count,), 3.0), 3.0, valid)


@pytest.mark.parametrize("case", SOURCES)
def test_sources_are_the_official_ones(case):
    case = Filled(case)
    network, given = network_of(case), case.inputs()
    places, sounds = network.see(given["image"]), network.hear(given["audio"])
    out = SourceOutput(sounds[:, None], places.permute(0, 2, 3, 1)[:, None])
    batch = source_batch(given)
    if name_of(case) == "lvs":
        found = tri_map(sounds, places.permute(0, 2, 3, 1))
        case.same("A", found.own[:, None])
        case.same("Pos", found.sure[:, None])
        case.same("Neg", found.silent[:, None])
        case.same("logits", found.logits)
        loss = HardPairs(Vocabulary()).loss(out, batch)["loss"]
        assert loss.item() == pytest.approx(case.facts["loss_ce0"], rel=1e-4)
    else:
        task = EasyPairs(Vocabulary())
        heat = task.predict(out, batch)["heat"][:, 0]
        case.same("Savl", heat / task.temperature)
        case.same("img_proj", network.place_out(network.picture(given["image"])))
        case.same("aud_proj", network.sound_out(network.sound(given["audio"]).amax((2, 3))))
        case.same("map224_test", resize_heatmaps(heat / task.temperature)[:, None])
        coarse = heat[:, None] / task.temperature
        case.same("map224_val", F.interpolate(coarse, (224, 224), mode="bicubic", align_corners=False))
        loss = task.loss(out, batch)["loss"]
        assert loss.item() == pytest.approx(case.facts["loss_eval_mode"], rel=1e-5)
    loss.backward()
    check_gradients(case, network, "grad_l2")


@pytest.mark.parametrize("case", golden_cases(FOLDER + "ezvsl", but="ezvsl_object_prior"))
def test_ez_vsl_trains_the_official_way(case):
    case = Filled(case)
    network, given, task = network_of(case).train(), case.inputs(), EasyPairs(Vocabulary())
    batch = source_batch(given)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for step, wanted in enumerate(case.facts["adam3_losses_train_mode"]):
        places, sounds = network.see(given["image"]), network.hear(given["audio"])
        loss = task.loss(SourceOutput(sounds[:, None], places.permute(0, 2, 3, 1)[:, None]), batch)["loss"]
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
    """Output of a case of masks, as the task takes it, with the recorded stages."""
    steps = case.config["frames_per_video"]
    maps = network.visual.network(given["frames"])
    if name_of(case) == "tpavi":
        sound = given["audio_feature"].unflatten(0, (-1, steps))
        out = network([x.unflatten(0, (-1, steps)) for x in maps], sound)
        return MaskNetOutput(out.logits, None, out.maps, [x.flatten(0, 1) for x in out.sounds]), (out, maps)
    heard = network.audio.network(given["audio"])
    out = network(maps, heard)
    valid = torch.ones(len(heard) // steps, steps, dtype=torch.bool)
    return MaskNetOutput.of(out.logits, out.features, valid), (out, heard)


def mask_batch(given, known):
    masks = given["masks_five"].unflatten(0, (-1, known.shape[1]))[:, :, 0].clone()
    masks[:, 0] = torch.where(known.all(), masks[:, 0], given["mask_first"][:, 0, 0])
    size = torch.zeros(*known.shape, 3, 1, 1).expand(-1, -1, -1, *masks.shape[-2:])
    return Batch(
        "avs", ["a"], torch.full((1,), 5.0), 1.0, torch.ones_like(known), size,
        targets={"mask": masks, "mask_known": known},
    )  # fmt: skip


@pytest.mark.parametrize("case", MASKS)
@pytest.mark.parametrize("learn", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_masks_are_the_official_ones(case, learn):
    case = Filled(case)
    network, given = network_of(case), case.inputs()
    with torch.set_grad_enabled(learn):
        out, stages = masks_of(case, network, given)
    case.same("pred", out.logits.flatten(0, 1))
    if name_of(case) == "tpavi":
        found, maps = stages
        for i in range(4):
            case.same(f"map{i + 1}", found.maps[i])
            case.same(f"audio{i + 1}", found.sounds[i])
            case.same(f"pvt{i + 1}", maps[i])
    else:
        found, heard = stages
        case.same("vggish", heard)
        case.same("mask_feature", found.features)
        case.same("memory", found.memory)
        case.same("decoder", found.queries)
        case.same("query", network.head.make_queries(network.sound_in(heard)[:, None]))
    first = torch.zeros(1, case.config["frames_per_video"], dtype=torch.bool)
    first[0, 0] = True
    every = torch.ones_like(first)
    modes = {"s4": first, "ms3": every}
    for k, (mode, known) in enumerate(modes.items()):
        task = masks_task(case, mode)
        loss = task.loss(out, mask_batch(given, known))
        wanted = case.facts["loss_ms3_total" if mode == "ms3" and name_of(case) == "tpavi" else f"loss_{mode}"]
        assert loss["loss"].item() == pytest.approx(wanted, rel=1e-5)
        if learn and f"grad_l2_{mode}" in case.facts:
            network.zero_grad(set_to_none=True)
            loss["loss"].backward(retain_graph=k == 0)
            check_gradients(case, network, f"grad_l2_{mode}")


def masks_task(case, mode):
    if name_of(case) == "tpavi":
        return MatchedMasks(Vocabulary(), match=0.5 if mode == "ms3" else 0.0)
    return MixedMasks(Vocabulary())
