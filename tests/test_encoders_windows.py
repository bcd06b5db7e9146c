# SPDX-License-Identifier: Apache-2.0
"""Encoders of windows of frames and of sound: I3D, optical flow, R(2+1)D and ONE-PEACE, at random weights.

That their numbers are those of the authors' code for the authors' weights was checked against the public code once: see
docs/features.md. Here stand shapes, keys of public weight files, and what is refused.
"""

import sys

import pytest
import torch

from avkit.encoders import build_audio_encoder, build_window_encoder
from avkit.encoders.i3d import I3D, crop_middle, quantise_flow, rename_i3d
from avkit.encoders.one_peace import OnePeaceSizes, rename_layers
from avkit.encoders.one_peace_audio import _NAMES as AUDIO_NAMES
from avkit.encoders.one_peace_audio import OnePeaceAudio, distance_buckets
from avkit.encoders.one_peace_video import _NAMES as VIDEO_NAMES
from avkit.encoders.one_peace_video import OnePeaceVideo, offset_rows
from avkit.encoders.raft import rename_raft
from avkit.errors import AvkitError

SMALL = OnePeaceSizes(width=32, layers=2, heads=4, hidden=48)


def test_keys_of_both_public_forms_of_i3d_are_ours():
    own = I3D(3).state_dict()
    for theirs, ours in (
        ("conv3d_1a_7x7.conv3d.weight", "layers.1a.conv.weight"),
        ("conv3d_2c_3x3.batch3d.running_var", "layers.2c.norm.running_var"),
        ("mixed_3b.branch_0.conv3d.weight", "layers.3b.first.conv.weight"),
        ("mixed_4f.branch_1.1.batch3d.bias", "layers.4f.second.1.norm.bias"),
        ("mixed_5c.branch_3.1.conv3d.weight", "layers.5c.pooled.conv.weight"),
        ("Conv3d_1a_7x7.conv3d.weight", "layers.1a.conv.weight"),
        ("Mixed_5b.b2a.bn.running_mean", "layers.5b.third.0.norm.running_mean"),
        ("Mixed_4d.b3b.conv3d.weight", "layers.4d.pooled.conv.weight"),
    ):
        renamed = rename_i3d({theirs: torch.zeros(1)})
        assert list(renamed) == [ours]
        assert ours in own
    assert list(rename_i3d({"conv3d_0c_1x1.conv3d.bias": torch.zeros(1)})) == ["conv3d_0c_1x1.conv3d.bias"]
    assert sum(x.numel() for x in I3D(3).parameters()) == 12_287_264
    assert sum(x.numel() for x in I3D(2).parameters()) == 12_287_264 - 64 * 7**3


def test_i3d_over_frames(tmp_path):
    encoder = build_window_encoder("i3d_rgb").eval()
    frames = torch.randint(0, 256, (17, 3, 224, 230), dtype=torch.uint8)
    prepared = encoder.prepare(frames)
    assert prepared.shape == (16, 3, 224, 224)
    assert torch.equal(prepared[3], frames[3, :, :, 3:227])
    with torch.inference_mode():
        assert encoder(prepared[None]).shape == (1, 1024)
    state = {f"layers.{k}": x for k, x in encoder.network.layers.state_dict().items()}
    theirs = {key.replace("layers.1a.conv", "Conv3d_1a_7x7.conv3d"): x for key, x in state.items()}
    torch.save(theirs | {"logits.conv3d.bias": torch.zeros(400)}, tmp_path / "i3d.pt")
    again = build_window_encoder("i3d_rgb", str(tmp_path / "i3d.pt"))
    assert torch.equal(again.network.layers["1a"].conv.weight, state["layers.1a.conv.weight"])
    with pytest.raises(ValueError, match=r"frames of 224 pixels or more; got 100 x 230"):
        crop_middle(frames[..., :100, :])
    with pytest.raises(AvkitError, match=r"Weights of i3d_rgb \(12.3 million parameters, about 49 MB\).*STREAM=PATH"):
        build_window_encoder("i3d_rgb", "hub")


def test_flow_is_cut_at_twenty_pixels_and_rounded():
    flow = torch.tensor([-50.0, -20.0, 0.0, 1.0, 20.0])
    assert quantise_flow(flow).tolist() == [0, 0, 128, 134, 256]


def test_keys_of_the_authors_raft_are_those_of_torchvision():
    theirs = (
        ("fnet.conv1.weight", "feature_encoder.convnormrelu.0.weight"),
        ("cnet.norm1.running_mean", "context_encoder.convnormrelu.1.running_mean"),
        ("cnet.layer2.0.norm2.bias", "context_encoder.layer2.0.convnormrelu2.1.bias"),
        ("fnet.layer3.0.downsample.0.weight", "feature_encoder.layer3.0.downsample.0.weight"),
        ("fnet.conv2.bias", "feature_encoder.conv.bias"),
        ("update_block.encoder.convf1.weight", "update_block.motion_encoder.convflow1.0.weight"),
        ("update_block.gru.convq2.bias", "update_block.recurrent_block.convgru2.convq.bias"),
        ("update_block.flow_head.conv2.weight", "update_block.flow_head.conv2.weight"),
        ("update_block.mask.2.weight", "mask_predictor.conv.weight"),
    )
    assert list(rename_raft({key: torch.zeros(1) for key, _ in theirs})) == [ours for _, ours in theirs]
    assert rename_raft({"cnet.layer2.0.norm3.weight": torch.zeros(1)}) == {}, "a second name of downsample.1"


@pytest.mark.parametrize("name", ["i3d_flow", "r2plus1d_18"])
def test_without_torchvision_one_line_says_so(name, monkeypatch):
    for module in ("torchvision", "torchvision.models.optical_flow", "torchvision.models.video"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        AvkitError, match=r"torchvision, which cannot be imported.*pip install 'avkit\[pretrained\]'"
    ) as e:
        build_window_encoder(name)
    assert "\n" not in str(e.value)


def test_flow_and_motion_by_torchvision():
    pytest.importorskip("torchvision")
    frames = torch.randint(0, 256, (9, 3, 224, 224), dtype=torch.uint8)
    motion = build_window_encoder("r2plus1d_18").eval()
    with torch.inference_mode():
        assert motion(motion.prepare(frames)[None, :8]).shape == (1, 512)
        flow = build_window_encoder("i3d_flow").eval()
        prepared = flow.prepare(frames[:2])
    assert (prepared.shape, prepared.dtype) == ((1, 2, 224, 224), torch.int16)


def test_one_peace_hears_a_second():
    encoder = build_audio_encoder("one_peace_audio", sizes=SMALL).eval()
    assert isinstance(encoder, OnePeaceAudio)
    waveform = torch.randn(1, 32_000)
    with torch.inference_mode():
        steps = encoder(waveform, 5, 0.25)
        row = encoder.network(waveform[:, 4000:20_000])
    torch.testing.assert_close(steps[:, 1], row)
    torch.testing.assert_close(steps.norm(dim=-1), torch.ones(1, 5))


def test_distances_have_buckets_that_grow():
    rows = distance_buckets(1024, 512)
    assert rows[0, 0] == 2 * 512 + 1
    assert set(rows[0, 1:].tolist()) == {2 * 512 - 1}
    assert set(rows[1:, 0].tolist()) == {2 * 512}
    assert rows[5, 3] == 511 + 2
    assert rows[3, 5] == 511 - 2
    assert rows[1023, 1] <= 2 * 512 - 2, "the last bucket of a long distance"
    assert rows[600, 1] - rows[500, 1] < 100


def test_one_peace_sees_windows_of_sixteen_frames():
    encoder = build_window_encoder("one_peace_video", sizes=SMALL).eval()
    assert isinstance(encoder, OnePeaceVideo)
    frames = torch.randint(0, 256, (16, 3, 256, 256), dtype=torch.uint8)
    with torch.inference_mode():
        assert encoder(encoder.prepare(frames)[None]).shape == (1, 32)
        with pytest.raises(ValueError, match="windows of 16 frames, got 8"):
            encoder(frames[None, :8])
    rows = offset_rows(16)
    assert rows.shape == (257, 257)
    assert rows[1, 2] == rows[2, 3] != rows[2, 1]
    assert rows[0, 0] == 31**2 + 2


def test_keys_of_one_peace_are_ours():
    audio = OnePeaceAudio(sizes=SMALL).network.state_dict()
    layers = "encoder_wrapper.fusion_model.layers.1."
    adapter = "encoder_wrapper.audio_adapter."
    for theirs, ours in (
        (f"{adapter}embed_audios.0.conv_layers.6.0.weight", "convolutions.6.conv.weight"),
        (f"{adapter}embed_audios.0.conv_layers.2.2.1.bias", "convolutions.2.norm.bias"),
        (f"{adapter}embed_audios.3.weight", "embed.weight"),
        (f"{adapter}embed_positions.5.0.bias", "positions.5.bias"),
        (f"{adapter}rel_pos_table_list.0.weight", "distance_bias"),
        (f"{adapter}cls_pos_embed", "first_position"),
        (f"{layers}self_attn.k_proj.weight", "layers.1.attention.k.weight"),
        (f"{layers}self_attn.ln.bias", "layers.1.attention.norm.bias"),
        (f"{layers}audio_ffn.0.wi_1.weight", "layers.1.feed_forward.value.weight"),
        (f"{layers}audio_ffn.3.bias", "layers.1.feed_forward.out.bias"),
        (f"{layers}gamma_2", "layers.1.feed_forward_scale"),
        ("encoder_wrapper.fusion_model.audio_layer_norm.weight", "norm.weight"),
        ("audio_proj.weight", "projection.weight"),
    ):
        assert list(rename_layers({theirs: torch.zeros(1)}, AUDIO_NAMES)) == [ours]
        assert ours in audio
    video = OnePeaceVideo(sizes=SMALL).network.state_dict()
    for theirs, ours in (
        ("backbone.image_adapter.embed_images.4.layer_norm.weight", "stem.1.norm.weight"),
        ("backbone.image_adapter.temporal_embedding", "times"),
        ("backbone.image_adapter.rel_pos_table.weight", "distance_bias"),
        ("backbone.encoder.layers.0.T_Adapter.D_fc1.weight", "layers.0.over_time.fc1.weight"),
        ("backbone.encoder.layers.0.S_Adapter.D_fc2.bias", "layers.0.over_patches.fc2.bias"),
        ("backbone.encoder.layers.0.image_ffn.0.wi_0.weight", "layers.0.feed_forward.gate.weight"),
        ("backbone.encoder.image_layer_norm.bias", "norm.bias"),
    ):
        assert list(rename_layers({theirs: torch.zeros(1)}, VIDEO_NAMES)) == [ours]
        assert ours in video


def test_published_one_peace_has_the_published_number_of_parameters():
    with torch.device("meta"):
        tower = OnePeaceAudio().network
    count = sum(x.numel() for x in tower.parameters())
    assert 1.52e9 < count < 1.54e9, "the paper's four billion hold three such towers, which share their attention"
    with pytest.raises(AvkitError, match=r"ONE-PEACE, one-peace.pt,.*about 6.1 GB.*one-peace-shanghai"):
        build_audio_encoder("one_peace_audio", "hub")  # no memory is taken first
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build_window_encoder("one_peace_video", "nowhere.pth")


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="do not fit this encoder"):
        OnePeaceVideo(str(tmp_path / "w.pt"), SMALL)
