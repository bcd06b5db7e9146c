# SPDX-License-Identifier: Apache-2.0
"""Encoders by transformers, tiny and random, through the code that runs the published ones; the list of encoders."""

import json

import pytest
import torch
from zero_shot_models import ast, clap, minilm, pe_av

import avkit
from avkit.cli import main
from avkit.encoders import build_audio_encoder, build_text_encoder, build_visual_encoder, build_window_encoder
from avkit.encoders.table import ENCODERS
from avkit.licences import find_licence
from avkit.reading.hub import HubError, no_downloads


@pytest.fixture
def waveform():
    return torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0)) * 0.1


def all_weights_are_trained(encoder, output, without=()):
    output.square().sum().backward()
    idle = [name for name, x in encoder.named_parameters() if x.grad is None]
    assert [name for name in idle if not any(part in name for part in without)] == []


class TestAST:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return ast(tmp_path_factory.mktemp("ast"))

    def test_is_what_transformers_make(self, folder, waveform):
        from transformers import ASTFeatureExtractor, ASTModel

        encoder = build_audio_encoder("ast", str(folder), seconds=0.5).eval()
        inputs = ASTFeatureExtractor.from_pretrained(folder)(
            list(waveform[:, :8000].numpy()), sampling_rate=16_000, return_tensors="pt"
        )
        expected = ASTModel.from_pretrained(folder).eval()(**inputs).pooler_output
        out = encoder(waveform, 2, 1.0)
        torch.testing.assert_close(out[:, 0], expected, atol=1e-4, rtol=1e-4)
        assert out.shape == (2, 2, encoder.width)

    def test_every_weight_is_trained(self, folder, waveform):
        encoder = build_audio_encoder("ast", str(folder))
        all_weights_are_trained(encoder, encoder(waveform, 2, 1.0))

    def test_weights_of_something_else(self, folder, tmp_path):
        with pytest.raises(ValueError, match=r"cannot be read as weights of ast|does not hold the weights of ast"):
            build_audio_encoder("ast", str(minilm(tmp_path / "words")))
        with pytest.raises(ValueError, match=r"'no/such/folder', the weights of ast, does not exist. Name the folder"):
            build_audio_encoder("ast", "no/such/folder")
        (tmp_path / "file.bin").write_bytes(b"1")
        with pytest.raises(ValueError, match=r"is a file\. Name the folder that save_pretrained"):
            build_audio_encoder("ast", str(tmp_path / "file.bin"))

    def test_nothing_is_downloaded(self, tmp_path):
        text = r"Weights of ast are not in the cache.*huggingface.co/MIT/ast-.*audio_weights PATH.*BSD-3-Clause"
        with pytest.raises(HubError, match=text):
            build_audio_encoder("ast", "hub")
        with no_downloads(wanted=True), pytest.raises(HubError, match="--offline forbids a download"):
            build_audio_encoder("ast", "hub")


class TestCLAP:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return clap(tmp_path_factory.mktemp("clap"))

    @pytest.mark.parametrize("samples", [16_000, 9_000])
    def test_the_spectrogram_is_that_of_the_authors(self, folder, waveform, samples):
        from transformers import ClapFeatureExtractor

        rows = build_audio_encoder("clap", str(folder)).network
        extractor = ClapFeatureExtractor.from_pretrained(folder)
        from avkit.media.resample import upsample

        sound = upsample(waveform[:, :samples], 3)
        inputs = extractor(list(sound.numpy()), sampling_rate=48_000, return_tensors="pt")["input_features"]
        torch.testing.assert_close(rows.spectrogram(waveform[:, :samples]), inputs.float(), atol=2e-2, rtol=1e-3)

    def test_is_what_transformers_make(self, folder, waveform):
        from transformers import ClapModel

        encoder = build_audio_encoder("clap", str(folder)).eval()
        features = encoder.network.spectrogram(waveform[:, :16_000])
        model = ClapModel.from_pretrained(folder).eval()
        pooled = model.audio_model(features, is_longer=torch.zeros(2, 1, dtype=torch.bool)).pooler_output
        torch.testing.assert_close(encoder(waveform, 2, 1.0)[:, 0], model.audio_projection(pooled))
        lower = build_audio_encoder("htsat", str(folder)).eval()
        torch.testing.assert_close(lower(waveform, 2, 1.0)[:, 0], pooled)
        assert (encoder.width, lower.width) == (16, 64)

    def test_sound_and_words_share_a_space(self, folder):
        encoder = build_text_encoder("clap", str(folder)).eval()
        from transformers import ClapModel, ClapProcessor

        texts = ["a dog", "the sound of a chainsaw"]
        out = encoder(texts)
        inputs = ClapProcessor.from_pretrained(folder)(text=texts, return_tensors="pt", padding=True)
        model = ClapModel.from_pretrained(folder).eval()
        expected = model.text_projection(model.text_model(**inputs).pooler_output)
        torch.testing.assert_close(out.pooled, expected)
        assert out.tokens.shape == (2, 7, encoder.width)
        assert out.valid.sum(1).tolist() == [4, 7]

    def test_every_weight_is_trained(self, folder, waveform):
        encoder = build_audio_encoder("clap", str(folder))
        all_weights_are_trained(encoder, encoder(waveform, 1, 1.0))

    def test_words_need_weights(self):
        with torch.device("meta"):
            encoder = build_text_encoder("clap")
        with pytest.raises(ValueError, match="Text encoder 'clap' has no words without weights"):
            encoder(["a dog"])


def test_sentences(tmp_path):
    encoder = build_text_encoder("minilm", str(minilm(tmp_path))).eval()
    out = encoder(["a dog", "the sound of a chainsaw"])
    expected = out.tokens[0, :4].mean(0)
    torch.testing.assert_close(out.pooled[0], expected / expected.norm())
    assert out.pooled.shape == (2, encoder.width)


class TestPEAV:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return pe_av(tmp_path_factory.mktemp("pe_av"))

    @pytest.fixture(scope="class")
    def model(self, folder):
        from transformers import PeAudioVideoModel

        return PeAudioVideoModel.from_pretrained(folder).eval()

    @pytest.fixture
    def frames(self):
        return torch.randint(0, 256, (3, 3, 40, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)

    def test_sound(self, folder, model, waveform):
        from avkit.media.resample import upsample

        encoder = build_audio_encoder("pe_av", str(folder)).eval()
        out = encoder(waveform, 2, 1.0)
        inputs = upsample(waveform[:, :16_000], 3)[:, None]
        pooled = model.audio_model.audio_encoder(input_values=inputs).pooler_output
        torch.testing.assert_close(out[:, 0], model.audio_model.audio_head(pooled))

    def test_a_picture_is_a_video_of_one_frame(self, folder, frames):
        pictures = build_visual_encoder("pe_av", str(folder), grid=4).eval()
        videos = build_window_encoder("pe_av", str(folder)).eval()
        out = pictures(frames)
        torch.testing.assert_close(out.frame, videos(videos.prepare(frames)[:, None]))
        assert (out.grid, out.patches.shape) == ((4, 4), (3, 16, pictures.width))
        assert videos(videos.prepare(frames)[None]).shape == (1, videos.width)

    def test_text(self, folder, model):
        encoder = build_text_encoder("pe_av", str(folder)).eval()
        out = encoder(["a dog", "the sound of a chainsaw"])
        inputs = encoder.tokenizer(["a dog"], return_tensors="pt")
        states = model.text_model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True
        )
        expected = model.text_audio_video_head(states.hidden_states[-1][:, 0])
        torch.testing.assert_close(out.pooled[:1], expected, atol=1e-5, rtol=1e-4)

    def test_weights_are_trained(self, folder, waveform, frames):
        sound = build_audio_encoder("pe_av", str(folder))
        # transformers take no gradient there; the last token alone reaches the head
        all_weights_are_trained(sound, sound(waveform, 1, 1.0), without=("dac_encoder", "bottleneck"))
        pictures = build_visual_encoder("pe_av", str(folder), grid=2)
        out = pictures(frames)
        all_weights_are_trained(pictures, torch.cat([out.frame[:, None], out.patches], 1))


class TestList:
    def test_every_encoder_has_a_row(self):
        for kind, entries in ENCODERS.items():
            rows = avkit.list_encoders(kind)
            assert set(entries) <= set(rows)
            for row in rows.values():
                assert row.width > 0
                assert row.training
                assert (row.hop is None) == (kind in ("visual", "video", "text") or row.training.startswith("trained"))
                assert bool(row.megabytes and row.licence) != row.training.startswith("trained with")

    def test_it_reads_as_a_table(self):
        lines = repr(avkit.list_encoders("audio")).splitlines()
        assert lines[0].split() == ["name", "width", "hop", "licence", "size", "trained", "on"]
        assert any(line.split()[:5] == ["clap", "512", "1", "s", "Apache-2.0"] for line in lines)
        with pytest.raises(ValueError, match="Unknown kind of encoder 'sound'"):
            avkit.list_encoders("sound")

    def test_widths_are_those_of_the_classes(self):
        pytest.importorskip("transformers")
        for name in ("ast", "beats", "clap", "htsat", "yamnet", "yamnet_scores", "vggish", "small"):
            with torch.device("meta"):
                assert build_audio_encoder(name).width == avkit.list_encoders("audio")[name].width

    def test_info(self, capsys):
        assert main(["info", "--encoders"]) == 0
        assert "LAION-Audio-630K" in capsys.readouterr().out
        assert main(["info", "--encoders", "--json"]) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["audio"]}
        assert (rows["beats"]["megabytes"], rows["beats"]["licence"]) == (361, "MIT")

    def test_names_are_told(self):
        with pytest.raises(ValueError, match=r"Unknown audio encoder 'beat'\. Did you mean 'beats'"):
            build_audio_encoder("beat")
        with pytest.raises(ValueError, match=r"audio encoder 'timm:resnet18': timm has encoders of kind visual alone"):
            build_audio_encoder("timm:resnet18")

    def test_licences_of_networks_that_the_table_names(self):
        assert find_licence("weights", "timm:hiera_base_224.mae_in1k_ft_in1k").commercial == "no"
