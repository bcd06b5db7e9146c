# SPDX-License-Identifier: Apache-2.0
"""Any network of timm and open_clip by name: pyramids, tokens, SigLIP; licences and errors."""

import json

import pytest
import torch

from avkit.encoders import build_text_encoder, build_visual_encoder
from avkit.encoders.table import find_entry
from avkit.licences import LicenceError, check_licence, commercial_only, find_licence
from avkit.outside import is_outside
from avkit.reading.hub import HubError

try:
    import open_clip
    import timm
except (ImportError, RuntimeError) as e:  # both import torchvision, which is built for one torch alone
    pytest.skip(f"timm or open_clip cannot be imported beside this torch: {e}", allow_module_level=True)

SIGLIP = "Sigmoid-avkit-test"  # "SigLIP" in a name would have open_clip download its words
SIGLIP_CONFIG = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "text_cfg": {
        **{"context_length": 12, "vocab_size": 49_408, "width": 24, "heads": 2, "layers": 1, "proj_bias": True},
        **{"no_causal_mask": True, "pool_type": "last"},
    },
}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    trunk = timm.create_model("test_vit3", num_classes=0)
    path = tmp_path_factory.mktemp("siglip") / f"{SIGLIP}.json"
    path.write_text(json.dumps({**SIGLIP_CONFIG, "embed_dim": trunk.num_features}))
    open_clip.add_model_config(path)
    return f"open_clip:{SIGLIP}"


@pytest.fixture
def frames():
    return torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("test_convnext", 4),
        ("test_efficientnet", 5),
        ("hieradet_small", 4),
        ("swin_s3_tiny_224", 4),
        ("test_vit", 0),
        ("test_vit2", 0),
        ("test_vit3", 0),
        ("test_mambaout", 4),
    ],
)
def test_networks_with_a_pyramid_give_it(name, levels, frames):
    with torch.device("meta"):
        encoder = build_visual_encoder(f"timm:{name}").eval()
        size = encoder.input_size or (64, 96)
        out = encoder(torch.zeros(2, 3, *size))
    assert len(out.pyramid) == levels
    assert [x.shape[1] for x in out.pyramid] == encoder.pyramid_widths
    assert out.frame.shape == (2, encoder.width)
    assert out.patches.shape == (2, out.grid[0] * out.grid[1], encoder.width)


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2", "vit_small_patch16_dinov3", "vit_pe_core_tiny_patch16_384"]
)
def test_registers_are_no_patches(name):
    with torch.device("meta"):
        encoder = build_visual_encoder(f"timm:{name}").eval()
        out = encoder(torch.zeros(1, 3, *encoder.input_size))
    assert (
        out.patches.shape[1]
        == out.grid[0] * out.grid[1]
        == (encoder.input_size[0] // (14 if "14" in name else 16)) ** 2
    )


def test_the_frame_is_what_the_network_pools(frames, tmp_path):
    for name in ("test_vit2", "test_vit3"):  # a class token; attention
        whole = timm.create_model(name, num_classes=0).eval()
        torch.save(whole.state_dict(), tmp_path / "weights.pt")
        encoder = build_visual_encoder(f"timm:{name}", str(tmp_path / "weights.pt")).eval()
        torch.testing.assert_close(encoder(frames).frame, whole(encoder.preprocess(frames)))


def test_one_size_networks_resize(frames):
    encoder = build_visual_encoder("timm:test_vit3").eval()
    assert encoder.input_size == (160, 160)
    assert encoder(frames).grid == (10, 10)


class TestSigLIP:
    def test_pictures(self, siglip, frames):
        encoder = build_visual_encoder(siglip).eval()
        out = encoder(frames)
        torch.testing.assert_close(out.frame, encoder.tower(encoder.preprocess(frames)))
        assert (out.grid, out.patches.shape) == ((10, 10), (2, 100, encoder.width))
        out.patches.square().sum().backward()
        assert encoder.tower.trunk.patch_embed.proj.weight.grad.abs().sum() > 0

    def test_a_picture_of_one_patch_is_its_patch(self, siglip):
        encoder = build_visual_encoder(siglip).eval()
        trunk = encoder.tower.trunk
        token = torch.randn(1, 1, encoder.width)
        many = trunk.forward_head(token.expand(1, 7, -1))
        torch.testing.assert_close(trunk.forward_head(token), many, atol=1e-5, rtol=1e-4)

    def test_words(self, siglip):
        encoder = build_text_encoder(siglip).eval()
        texts = ["a dog", "a man plays the old guitar"]
        out = encoder(texts)
        pooled, _ = encoder.tower(encoder.tokenizer(texts))
        torch.testing.assert_close(out.pooled, pooled)
        torch.testing.assert_close(out.pooled, out.tokens[:, -1])  # the last token is pooled
        assert out.valid.sum(1).tolist() == [4, 8]

    def test_both_by_one_file(self, siglip, tmp_path, frames):
        model = open_clip.create_model(SIGLIP).eval()
        torch.save(model.state_dict(), tmp_path / "siglip.pt")
        pictures = build_visual_encoder(siglip, str(tmp_path / "siglip.pt")).eval()
        words = build_text_encoder(siglip, str(tmp_path / "siglip.pt")).eval()
        torch.testing.assert_close(pictures(frames).frame, model.encode_image(pictures.preprocess(frames)))
        torch.testing.assert_close(words(["a dog"]).pooled, model.encode_text(words.tokenizer(["a dog"])))

    def test_its_tokenizer_is_of_the_hub(self):
        with torch.device("meta"), pytest.raises(HubError, match=r"words of the tokenizer of ViT-B-16-SigLIP2-256"):
            build_text_encoder("open_clip:ViT-B-16-SigLIP2-256")


class TestNames:
    def test_a_library_is_nothing_from_outside(self):
        assert not is_outside("timm:resnet18")
        assert is_outside("mine.encoders:Class")
        assert find_entry("visual", "timm:resnet18").library == "timm"

    def test_misspelled(self):
        with pytest.raises(
            ValueError, match=r"timm knows no model 'vit_smal_patch14_dinov2'\. Similar: .*vit_small_patch14"
        ):
            build_visual_encoder("timm:vit_smal_patch14_dinov2")
        with pytest.raises(ValueError, match=r"timm knows no weights 'lvd142' of vit_small_patch14_dinov2.*\.lvd142m"):
            build_visual_encoder("timm:vit_small_patch14_dinov2.lvd142")
        with pytest.raises(ValueError, match=r"open_clip knows no model 'ViT-B-16-SigLIP3'\. Similar: ViT-B-16-SigLIP"):
            build_text_encoder("open_clip:ViT-B-16-SigLIP3")
        with pytest.raises(ValueError, match="timm publishes no weights of"):
            build_visual_encoder("timm:coatnet_4_224", "hub")

    def test_what_is_missing_is_said_with_its_licence(self):
        name = "timm:vit_small_patch14_dinov2.lvd142m"
        text = r"Weights of vit_small.* about 88 MB\).*huggingface.co/timm/vit_small.*Licence: Apache-2"
        with pytest.raises(HubError, match=text):
            build_visual_encoder(name, "hub")


class TestLicences:
    @pytest.mark.parametrize(
        ("name", "commercial"),
        [
            ("timm:hiera_tiny_224.mae", "no"),
            ("timm:vit_base_patch14_dinov2.lvd142m", "yes"),
            ("timm:vit_base_patch16_dinov3.lvd1689m", "unclear"),
            ("timm:resnet50.a1_in1k", "yes"),
        ],
    )
    def test_are_those_that_timm_states(self, name, commercial):
        assert find_licence("weights", name).commercial == commercial

    def test_what_may_not_be_used_is_refused(self):
        with commercial_only(wanted=True), pytest.raises(LicenceError, match=r"cc-by-nc-4\.0, no commercial use"):
            check_licence("weights", "timm:hiera_tiny_224.mae")
        assert find_licence("weights", "timm:no_such_network") is None
        assert find_licence("weights", "timm:resnet50.no_such_tag") is None
