"""The mask decoder and its attention against a slow reference; `test_systems_spatial.py` has the official outputs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avkit.nn.deformable_attention import DeformableAttention, cell_centers, cell_codes
from avkit.nn.query_mask import QueryMaskDecoder
from avkit.nn.upsampled_conv import convolve_upsampled


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
    places = cell_centers(sizes)
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


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_an_enlarged_map_needs_no_enlarged_map(scale, bias):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(6, 4, 3, padding=1, bias=bias).double()
    results = []
    for fast in (True, False):
        maps = torch.randn(
            2, 6, 5, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True
        )
        conv.zero_grad()
        large = F.interpolate(maps, scale_factor=scale, mode="bilinear", align_corners=False)
        out = convolve_upsampled(conv, maps, scale) if fast else conv(large)
        out.square().sum().backward()
        results.append([out, maps.grad, *(p.grad.clone() for p in conv.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_recomputing_changes_nothing_but_memory():
    small = {"width": 32, "queries": 4, "layers": 2, "sound_layers": 1, "heads": 4, "inner": 16, "dropout": 0.0}
    maps = [torch.randn(2, 8, 8, 8), torch.randn(2, 16, 4, 4)]
    sound, results = torch.randn(2, 1, 32), []
    for recompute in (False, True):
        torch.manual_seed(0)
        head = QueryMaskDecoder([8, 16], **small, recompute=recompute).train()
        logits = head(maps, sound).logits
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in head.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_masks_in_half_precision_are_near():
    torch.manual_seed(0)
    small = {"queries": 4, "layers": 1, "sound_layers": 1, "heads": 4, "inner": 16, "sound_inner": 16, "scale": 3}
    head = QueryMaskDecoder([8, 16], width=32, **small).eval()
    given = [torch.randn(1, 8, 8, 8), torch.randn(1, 16, 4, 4)], torch.randn(1, 1, 32)
    exact = head(*given).logits
    with torch.autocast("cpu", torch.bfloat16):
        half = head(*given).logits
        half.float().square().sum().backward()
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_places_are_found_in_half_precision_too():
    """A map of 64 cells has places between those that half precision can tell apart."""
    torch.manual_seed(0)
    net, sizes = DeformableAttention(8, levels=1, heads=2), [(64, 64)]
    places, values = cell_centers(sizes), torch.randn(1, 4096, 8)
    with torch.no_grad():
        exact = net(values, places, values, sizes)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(values, places, values, sizes)
    assert (half.float() - exact).abs().max() < 0.03 * exact.abs().max()
