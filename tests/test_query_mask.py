"""The mask decoder against the official code's output, and its attention against a slow reference."""

import json
import math
import re
import zlib

import numpy as np
import pytest
import torch
from golden import golden_cases

from avkit.heads.deformable import DeformableAttention, cell_codes, cell_places
from avkit.heads.query_mask import QueryMaskDecoder
from avkit.losses import dice_loss

#: Beginnings of official names and ours.
NAMES = {
    "level_embed": "pixels.level_embed",
    "learnable_query.weight": "learnable_query",
    "query_generator.query.weight": "query",
    "query_generator.layers": "sound_layers",
    "transformer.encoder.layers": "pixels.layers",
    "transformer.decoder.layers": "layers",
    "in_proj": "pixels.in_proj",
    "lateral_conv": "pixels.lateral_conv",
    "out_conv": "pixels.out_conv",
    "mlp.layers": "combine",
    "fusion_block": "mixer",
    "fc.0": "out.0",
    "fc.2": "out.1",
    "fc.4": "out.2",
}


def ours(name):
    """Our name of an official parameter of the head, or None where it reaches no output."""
    start = next((s for s in sorted(NAMES, key=len, reverse=True) if name.startswith(s)), None)
    return None if start is None else NAMES[start] + name.removeprefix(start)


def fill(case, key, shape, kind):
    scale = next((s for start, s in case["scale_overrides"].items() if key.startswith(start)), case["scale"])
    x = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape) * scale
    x = {"normal": x, "one_plus": 1 + x, "one_plus_abs": 1 + abs(x)}[kind]
    return torch.from_numpy(np.asarray(x, np.float32))


@pytest.mark.parametrize("case", golden_cases("models/spatial/avsegformer_pvt"))
def test_masks_equal_the_official_head(case):
    timm = pytest.importorskip("timm")
    facts = json.loads(case.with_suffix(".json").read_text())
    arrays = np.load(case.with_suffix(".npz"))
    draws = np.random.default_rng(facts["input_seed"])
    given = {}
    for name, shape, _ in facts["input_order"]:
        masks = name.startswith("mask")
        x = (draws.random(shape) > 0.7) if masks else draws.standard_normal(shape)
        given[name] = torch.from_numpy(np.asarray(x, np.float32))
    filled = {k: fill(facts, k, s, kind) for k, s, _, kind in facts["keys"] if not k.startswith("vggish")}
    found = {k.removeprefix("head."): x for k, x in filled.items() if k.startswith("head.")}
    head = QueryMaskDecoder([64, 128, 320, 512], queries=facts["config"]["query_num"]).eval()
    dead = {k for k in found if ours(k) is None}
    assert {k.split(".")[0] for k in dead} == {"fpn", "attn_fc"}
    head.load_state_dict({ours(k): x for k, x in found.items() if k not in dead})
    trunk = timm.create_model("pvt_v2_b5", num_classes=0).eval()
    trunk.load_state_dict(official_pvt({k: x for k, x in filled.items() if k.startswith("backbone.")}, trunk))
    maps = []
    with torch.no_grad():
        x = trunk.patch_embed(given["frames"])
        for stage in trunk.stages:
            x = stage(x)
            maps.append(x)
        heard = torch.from_numpy(arrays["vggish"]) @ filled["audio_proj.weight"].T + filled["audio_proj.bias"]
        out = head(maps, heard[:, None])
    for name, x in (
        ("pred", out.logits),
        ("mask_feature", out.features),
        ("memory", out.memory),
        ("decoder", out.queries),
    ):
        facts_of = facts["outputs"][name]
        stride = facts_of["stride"] or [1] * x.ndim
        shown = x[tuple(slice(None, None, s) for s in stride)]
        torch.testing.assert_close(
            shown,
            torch.from_numpy(arrays[name]),
            atol=1e-4 + 1e-4 * facts_of["std"],
            rtol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )
    first = given["masks_five"][:, 0]
    parts = facts["loss_ms3_parts"]
    assert float(dice_loss(out.logits[:, 0], first).mean()) == pytest.approx(parts["iou_loss"], rel=1e-4)


def official_pvt(state, trunk):
    """Weights of the authors' PVT v2 under timm's names."""
    out = {}
    for key, x in state.items():
        name = key.removeprefix("backbone.")
        name = re.sub(r"^patch_embed1\.", "patch_embed.", name)
        name = re.sub(r"^patch_embed(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.downsample.", name)
        name = re.sub(r"^block(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks.", name)
        name = re.sub(r"^norm(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.norm.", name)
        out[name.replace("dwconv.dwconv", "dwconv")] = x
    return {k: x for k, x in out.items() if k in trunk.state_dict()}


def slow_attention(net, query, places, values, sizes):
    """Every head, query, level and point by itself, with the four neighbours of each place read one by one."""
    number, length, width = query.shape
    value = net.value_proj(values).unflatten(-1, (net.heads, -1))
    shape = (number, length, net.heads, net.levels, net.points)
    offsets = net.sampling_offsets(query).view(*shape, 2)
    weights = net.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
    out = torch.zeros(number, length, net.heads, width // net.heads)
    for n, q, h in np.ndindex(shape[:3]):
        first = 0
        for level, (rows, columns) in enumerate(sizes):
            for p in range(net.points):
                x = float(places[q, 0] * columns + offsets[n, q, h, level, p, 0]) - 0.5
                y = float(places[q, 1] * rows + offsets[n, q, h, level, p, 1]) - 0.5
                for row in (math.floor(y), math.floor(y) + 1):
                    for column in (math.floor(x), math.floor(x) + 1):
                        if 0 <= row < rows and 0 <= column < columns:
                            near = (1 - abs(x - column)) * (1 - abs(y - row))
                            cell = value[n, first + row * columns + column, h]
                            out[n, q, h] += weights[n, q, h, level, p] * near * cell
            first += rows * columns
    return net.output_proj(out.flatten(2))


@pytest.mark.parametrize("sizes", [[(3, 5), (2, 2)], [(1, 1), (4, 3)]])
def test_deformable_attention_is_what_it_says(sizes):
    torch.manual_seed(1)
    net = DeformableAttention(8, levels=2, heads=2, points=3)
    torch.nn.init.normal_(net.sampling_offsets.weight, std=0.5)
    torch.nn.init.normal_(net.attention_weights.weight)
    places = cell_places(sizes)
    values = torch.randn(2, len(places), 8)
    with torch.no_grad():
        fast = net(values, places, values, sizes)
        torch.testing.assert_close(fast, slow_attention(net, values, places, values, sizes), atol=1e-5, rtol=1e-5)


def test_deformable_attention_refuses_levels_that_do_not_add_up():
    net = DeformableAttention(8, levels=2, heads=2)
    with pytest.raises(ValueError, match="9 cells"):
        net(torch.zeros(1, 9, 8), torch.zeros(9, 2), torch.zeros(1, 9, 8), [(2, 2), (2, 2)])
    with pytest.raises(ValueError, match="multiple of 3"):
        DeformableAttention(8, heads=3)


def test_codes_count_from_one_row_first():
    (code,) = cell_codes([(2, 3)], 8)
    assert code[4].tolist() == pytest.approx(
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)] * 2, abs=1e-6
    )  # row 2, column 2


def test_one_frame_and_odd_sizes_go_through():
    small = {"queries": 4, "layers": 1, "sound_layers": 1, "heads": 4, "inner": 16, "sound_inner": 16, "scale": 2}
    head = QueryMaskDecoder([8, 16], width=32, **small)
    out = head([torch.randn(1, 8, 9, 7), torch.randn(1, 16, 5, 4)], torch.randn(1, 1, 32))
    assert out.logits.shape == (1, 1, 18, 14)
    with pytest.raises(ValueError, match="1 level"):
        QueryMaskDecoder([8])


def test_recomputing_changes_nothing_but_memory():
    small = {"width": 32, "queries": 4, "layers": 2, "sound_layers": 1, "heads": 4, "inner": 16, "dropout": 0.0}
    maps = [torch.randn(2, 8, 8, 8), torch.randn(2, 16, 4, 4)]
    sound, found = torch.randn(2, 1, 32), []
    for recompute in (False, True):
        torch.manual_seed(0)
        head = QueryMaskDecoder([8, 16], **small, recompute=recompute).train()
        logits = head(maps, sound).logits
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in head.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_places_are_found_in_half_precision_too():
    """A map of 64 cells has places between those that half precision can tell apart."""
    torch.manual_seed(0)
    net, sizes = DeformableAttention(8, levels=1, heads=2), [(64, 64)]
    places, values = cell_places(sizes), torch.randn(1, 4096, 8)
    with torch.no_grad():
        exact = net(values, places, values, sizes)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(values, places, values, sizes)
    assert (found.float() - exact).abs().max() < 0.03 * exact.abs().max()
