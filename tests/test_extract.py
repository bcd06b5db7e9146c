# SPDX-License-Identifier: Apache-2.0
"""`avkit extract`: features of every clip once, whatever stops it on the way."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import forked
import fsspec
import numpy as np
import PIL
import pytest
import torch
import yaml

from avkit.cli import main
from avkit.datasets import find_dataset
from avkit.encoders import build_visual_encoder
from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.errors import DataError, MediaError, UnreachableError
from avkit.export import export
from avkit.extraction import origins, prefetch
from avkit.extraction.decoding import EncoderInputs, InputForm, SourceDataset, is_failure_of_storage
from avkit.extraction.extract import extract, extract_clips
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.origins import _digest as digest_of
from avkit.extraction.origins import check_origins
from avkit.extraction.prefetch import iter_decoded
from avkit.extraction.progress import ExtractionProgress
from avkit.extraction.ray_passes import Cluster, Share, ray_started, share_of
from avkit.extraction.recipe import FeatureStream, list_recipes, read_recipe
from avkit.extraction.sources import MediaSource, sources_in, sources_of
from avkit.features.shards import ShardedStore
from avkit.features.store import Store
from avkit.files import is_running
from avkit.media import decode
from avkit.media.mel import EXAMPLE_SAMPLES, cut_steps, log_mel
from avkit.nn.token_merging import choose_pairs, merge_pairs, merge_tokens
from avkit.reading.boundary import file_errors

TINY = {
    "about": "small networks with random weights",
    "streams": {
        "seen": {"of": "pictures", "encoder": "small", "weights": None, "keep": "patches", "resize": 32, "crop": 32},
        "frame": {"of": "pictures", "encoder": "small", "weights": None, "resize": 32, "crop": 32},
        "tokens": {"of": "pictures", "encoder": "small", "weights": None, "keep": "tokens", "resize": 32, "crop": 32},
        "twice": {"of": "pictures", "encoder": "small", "weights": None, "hop": 0.5, "resize": 32, "crop": 32},
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return export("llp", tmp_path_factory.mktemp("x") / "llp", {"train": 4, "val": 1, "test": 3}, 32, 2, features=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("r") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def whole(root, tiny, tmp_path_factory):
    """The stores of an extraction that nothing stopped."""
    out = tmp_path_factory.mktemp("whole")
    sources, absent = sources_of(find_dataset("llp"), root)
    assert (len(sources), absent) == (8, 0)
    outcome = extract(sources, read_recipe(tiny), out, dataset="llp", workers=0)
    assert (outcome.done, outcome.new, outcome.failed) == (8, 8, {})
    return out


def same(a, b, streams=("seen", "frame", "twice")):
    for name in streams:
        one, two = Store(a / f"{name}.h5"), Store(b / f"{name}.h5")
        assert sorted(one.names) == sorted(two.names)
        assert one.facts == two.facts
        for clip in one.names:
            np.testing.assert_allclose(one.read(clip), two.read(clip), atol=2e-3)


def test_stores_are_what_the_network_says(root, whole):
    store, source = Store(whole / "frame.h5"), sources_of(find_dataset("llp"), root)[0][0]
    frames = decode.read_frames(source.root / source.video, decode.step_times(10.0, 1.0), size=32)
    torch.manual_seed(0)
    encoder = build_visual_encoder("small").eval()
    with torch.inference_mode():
        expected = encoder(frames)
    np.testing.assert_allclose(store.read(source.name), expected.frame.numpy(), atol=2e-3)
    np.testing.assert_allclose(Store(whole / "seen.h5").read(source.name), expected.patches.numpy(), atol=2e-3)
    tokens = Store(whole / "tokens.h5").read(source.name)
    np.testing.assert_array_equal(tokens[:, 0], store.read(source.name))
    np.testing.assert_array_equal(tokens[:, 1:], Store(whole / "seen.h5").read(source.name))
    assert Store(whole / "twice.h5").steps(source.name) == 20
    assert (store.facts.encoder, store.facts.hop, store.facts.dataset) == ("small", 1.0, "llp")
    assert Store(whole / "seen.h5").facts.encoder == "small patches"
    assert store.facts.weights


def test_the_dataset_reads_what_was_extracted(root, whole):
    data = find_dataset("llp")(root, "test", visual=str(whole / "seen.h5"), audio=str(whole / "frame.h5"))
    item = data.item(0)
    assert item.visual.shape[0] == item.audio.shape[0] == 10
    assert item.visual.shape[1] == Store(whole / "seen.h5").shape[0]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_across_clips_change_nothing(root, tiny, whole, tmp_path, batch):
    sources = sources_of(find_dataset("llp"), root)[0]
    extract(sources, read_recipe(tiny), tmp_path, dataset="llp", batch_size=batch, workers=0)
    same(whole, tmp_path)


def test_workers_change_nothing(root, tiny, whole, tmp_path):
    extract(sources_of(find_dataset("llp"), root)[0], read_recipe(tiny), tmp_path, dataset="llp", workers=2)
    same(whole, tmp_path)


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_killed_at_any_moment(root, tiny, whole, tmp_path, workers):
    """What was finished when the process died is never made again."""
    words = ["extract", "llp", "--root", str(root), "--recipe", str(tiny)]
    words += ["--out", str(tmp_path), "--workers", workers, "--batch", "10", "--device", "cpu"]
    parts, made = tmp_path / ".tiny-parts", {}

    def written():
        return {p: p.stat().st_mtime_ns for p in parts.rglob("*.npy") if not p.name.startswith(".")}

    def finished():
        done = ExtractionProgress(parts, list(TINY["streams"])).done()
        return {p: t for p, t in written().items() if p.stem in done}

    for files in (2, 15):  # it is killed once so many files are written
        process = forked.start(words, os.devnull)
        until = time.monotonic() + 120
        while len(written()) < files and time.monotonic() < until:
            time.sleep(0.002)
        os.killpg(process, signal.SIGKILL)
        forked.wait(process, 60)
        if not parts.exists():  # it was done already
            break
        now = finished()
        assert {p: t for p, t in now.items() if p in made} == made, "nothing was made twice"
        made = now
    assert main([*words, "--debug"]) == 0
    assert not parts.exists()
    same(whole, tmp_path)
    assert main(words) == 0, "and once more, with nothing to do"


def test_broken_videos_are_set_aside(root, tiny, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    paths = sorted((root / "video").iterdir())[:4]
    for path in paths:
        (videos / path.name).write_bytes(path.read_bytes())
    (videos / paths[0].name).write_bytes(b"")
    (videos / paths[2].name).write_bytes(paths[2].read_bytes()[:3000])
    words = ["extract", str(videos), "--recipe", str(tiny), "--workers", "0", "--device", "cpu"]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "2 clips could not be read and are set aside" in err
    assert f"{paths[0].stem}: " in err
    assert "is empty (0 bytes)" in err
    assert len(Store(videos / "features/frame.h5")) == 2
    (videos / paths[0].name).write_bytes(paths[0].read_bytes())
    assert main(words) == 1, "it stays aside"
    assert len(Store(videos / "features/frame.h5")) == 2
    assert main([*words, "--retry"]) == 1
    assert len(Store(videos / "features/frame.h5")) == 3
    (videos / paths[2].name).write_bytes(paths[2].read_bytes())
    assert main([*words, "--retry"]) == 0
    assert len(Store(videos / "features/frame.h5")) == 4


class Deadly(SourceDataset):
    """The sixth clip kills the process that decodes it; the third does so once."""

    def __init__(self, *words, once):
        super().__init__(*words)
        self.once = once

    def read(self, source):
        place = self.sources.index(source)
        if place == 5 or (place == 2 and not self.once.exists()):
            self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(source)


def test_a_file_that_kills_its_decoder(root, tiny, tmp_path, monkeypatch):
    sources = sources_of(find_dataset("llp"), root)[0]
    monkeypatch.setattr("avkit.extraction.extract.SourceDataset", partial(Deadly, once=tmp_path / "once"))
    outcome = extract(sources, read_recipe(tiny), tmp_path / "out", dataset="llp", workers=2)
    assert outcome.failed == {sources[5].name: "its decoder ended twice: the file crashes it, or somebody killed it."}
    assert outcome.done == 7


class Endless(SourceDataset):
    """The first clip is read at once; each later one leaves the id of its process in a folder and never ends."""

    def __init__(self, folder):
        super().__init__([MediaSource(str(number), folder) for number in range(9)], [], {})
        self.folder = folder

    def __getitem__(self, index):
        if index:
            (self.folder / str(os.getpid())).touch()
            ctypes.PyDLL(None).sleep(600)  # no Python code runs meanwhile, in no thread
        return EncoderInputs(self.sources[index].name)


def start_endless(folder):
    """An extraction of which two decoders are busy, and their ids."""
    decoded = iter_decoded(Endless(folder), 2)
    assert next(decoded).name == "0"
    assert wait_until(lambda: len(list(folder.iterdir())) == 2, 60)
    return decoded, [int(path.name) for path in folder.iterdir()]


def wait_until(condition, seconds):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_decoders_are_not_waited_for_when_an_extraction_ends(tmp_path):
    decoded, decoders = start_endless(tmp_path)
    decoded.close()
    assert not any(map(is_running, decoders))


@pytest.mark.skipif(sys.platform != "linux", reason="the system offers it on Linux alone")
def test_busy_decoders_die_with_a_killed_extraction(tmp_path):
    def extract_endlessly():
        running = start_endless(tmp_path)
        time.sleep(600)
        return running

    process = forked.start_call(extract_endlessly, os.devnull)
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 60)
    os.kill(process, signal.SIGKILL)
    forked.wait(process, 60)
    decoders = [int(path.name) for path in tmp_path.iterdir()]
    assert len(decoders) == 2
    assert wait_until(lambda: not any(map(is_running, decoders)), 2)


class Named(SourceDataset):
    """Clips without content."""

    def __getitem__(self, index):
        return EncoderInputs(self.sources[index].name)


def test_a_start_that_fails_costs_no_clip(tmp_path, monkeypatch):
    submit = ProcessPoolExecutor.submit
    failures = chain([True] * 5, repeat(False))  # more often than a clip may end its decoder

    def fail(pool, *words):
        if next(failures):
            raise EOFError
        return submit(pool, *words)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", fail)
    monkeypatch.setattr(prefetch, "_START_PAUSE", 0.0)
    clips = Named([MediaSource(str(number), tmp_path) for number in range(3)], [], {})
    assert [(clip.name, clip.error) for clip in iter_decoded(clips, 1)] == [("0", ""), ("1", ""), ("2", "")]
    failures = repeat(True)
    with pytest.raises(DataError, match=r"cannot be started \(EOFError\)\. Try --workers 0"):
        list(iter_decoded(clips, 1))


def test_two_extractions_never_share_a_folder(root, tiny, tmp_path):
    code = "import sys, time; from pathlib import Path; from avkit.files import hold\n"
    code += "lock = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", code, str(tmp_path / ".tiny.lock")]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    sources = sources_of(find_dataset("llp"), root)[0]
    with pytest.raises(DataError, match=rf"is being extracted into .* by process {holder.pid} on .* another --out"):
        extract(sources[:1], read_recipe(tiny), tmp_path, dataset="llp", workers=0)
    holder.kill()
    holder.wait()
    assert extract(sources[:1], read_recipe(tiny), tmp_path, dataset="llp", workers=0).done == 1
    assert not (tmp_path / ".tiny.lock").exists()


def test_stores_made_in_another_way_are_not_mixed(root, tiny, whole, tmp_path):
    sources = sources_of(find_dataset("llp"), root)[0]
    extract(sources[:2], read_recipe(tiny), tmp_path, dataset="llp", workers=0)
    with pytest.raises(DataError, match=r"made in another way: dataset 'llp' and not 'ave'"):
        extract(sources, read_recipe(tiny), tmp_path, dataset="ave", workers=0)
    assert len(Store(tmp_path / "frame.h5")) == 2


def test_vggish_of_a_second_and_of_a_third(root):
    sources = sources_of(find_dataset("llp"), root)[0]
    second, third = FeatureStream("a", "sound", "vggish"), FeatureStream("b", "sound", "vggish", hop=0.32)
    decoded = SourceDataset(sources[:1], [second, third], {"a": InputForm(), "b": InputForm()})[0]
    wave = decode.read_waveform(sources[0].root / sources[0].audio)
    expected = log_mel(cut_steps(wave[None], 10, 1.0, EXAMPLE_SAMPLES))[0]
    torch.testing.assert_close(decoded.inputs["a"], expected)
    assert decoded.inputs["b"].shape == (31, 96, 64), "ten seconds, as the dataset says, in hops of 0.32 s"
    long = SourceDataset([MediaSource("x", root, audio=sources[0].audio)], [third], {"b": InputForm()})[0].inputs["b"]
    assert len(long) == int((10 - 0.96) / 0.32) + 1
    torch.testing.assert_close(long[3], log_mel(wave[3 * 5120 : 3 * 5120 + EXAMPLE_SAMPLES]))


def test_the_parts_that_the_dataset_means(tmp_path):
    root = export("vggss", tmp_path / "v", {"test": 2}, 32)
    data = find_dataset("vggss")(root, "test", 32)
    source = next(s for s in sources_of(find_dataset("vggss"), root)[0] if s.name == data.annotations[0].media)
    examples = SourceDataset([source], [FeatureStream("a", "sound", "vggish")], {"a": InputForm()})[0].inputs["a"]
    expected = log_mel(cut_steps(data.item(0).waveform[None], 3, 1.0, EXAMPLE_SAMPLES))[0]
    torch.testing.assert_close(examples, expected)
    root = export("avsbench-s4", tmp_path / "s", {"test": 1}, 32)
    assert sources_of(find_dataset("avsbench-s4"), root)[0][0].offset == 15 / 16


def test_squeezed_or_cut_from_the_middle(tmp_path):
    frames = np.zeros((4, 40, 80, 3), np.uint8)
    frames[:, :, 20:60] = 255
    decode.write_video(tmp_path / "a.mp4", list(frames), 2)
    source = sources_in(tmp_path)
    cut = FeatureStream("a", "pictures", "small", resize=20, crop=20)
    squeezed = FeatureStream("b", "pictures", "small")
    x = SourceDataset(source, [cut, squeezed], {"a": InputForm(), "b": InputForm(20)})[0].inputs
    assert x["a"].shape == x["b"].shape == (2, 3, 20, 20)
    assert x["a"].float().mean() > 240, "the middle is white"
    assert x["b"][..., :3].float().mean() < 30, "the sides are there too"


def test_the_recipes(capsys):
    assert {"av_unified", "tspm", "llp", "pvt_v2", "vggish_032", "classes", "i3d_raft"} <= set(list_recipes())
    for name in list_recipes():
        recipe = read_recipe(name)
        assert recipe.about
        assert recipe.streams or recipe.bring
    assert main(["extract", "--list"]) == 0
    assert "vggish_032" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("streams: [1]", "is a mapping"),
        ("a: 1", "has no 'streams'"),
        ("streams: {a: {of: pictures}}", "give at least 'of' and 'encoder'"),
        ("streams: {a: {of: pictures, encoder: small, hopp: 1}}", "Did you mean 'hop'"),
        ("streams: {a: {of: picture, encoder: small}}", "Did you mean 'pictures'"),
        ("streams: {a: {of: sound, encoder: vggish, hop: 0}}", "hop and window are above 0"),
        ("streams: {a: {of: pictures, encoder: small, crop: 224}}", "give both"),
        ("streams: {a: {of: pictures, encoder: small, resize: 224}}", "give both"),
        ("streams: {a: {of: pictures, encoder: i3d_rgb, keep: window}}", "with fps above 0"),
        ("streams: {a: {of: pictures, encoder: i3d_rgb, keep: window, fps: 25, hop: 0.3}}", "whole numbers of frames"),
        ("streams: {a: {of: sound, encoder: vggish, keep: window, fps: 25, hop: 0.32}}", "windows are of pictures"),
        ("streams: {a: {of: pictures, encoder: small, hop: fast}}", "could not convert"),
        ("{", "is no YAML"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_recipes_that_are_none(tmp_path, content, message):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(DataError, match=message):
        read_recipe(tmp_path / "r.yaml")


def test_what_cannot_be_extracted(tmp_path, capsys):
    bring = tmp_path / "bring.yaml"
    bring.write_text("bring: Bring the authors' own.")
    for words, message in (
        (["extract"], "Name a dataset or a folder"),
        (["extract", "llp"], "Name the folder of LLP with --root"),
        (["extract", "manifest", "--root", str(tmp_path)], "has no media of its own"),
        (["extract", "scenes", "--root", str(tmp_path)], "scenes are built in"),
        (["extract", "lpl", "--root", str(tmp_path)], "Did you mean 'llp'"),
        (["extract", str(tmp_path)], "is no folder with videos"),
        (["extract", str(tmp_path), "--recipe", str(bring)], "Bring the authors' own"),
        (["extract", "llp", "--recipe", "av_unifed"], "Did you mean 'av_unified'"),
        (["extract", "llp", "--batch", "0"], "--batch is 0"),
        (["extract", "llp", "--ray-gpus", "0.5"], "nothing is asked of Ray. Add --ray N."),
        (["extract", "llp", "--ray", "2", "--workers", "3"], "--workers is 3, and on Ray each CPU of the cluster"),
        (["extract", "llp", "--root", "memory://bucket/llp"], "to a folder of this machine. Name it with --out."),
        (["extract", "llp", "--recipe", "llp", "--weights", "re152=none"], "Did you mean 'res152'"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err


def test_text_features_of_questions_and_classes(tmp_path, capsys):
    root = export("avqa", tmp_path / "avqa", {"train": 2, "test": 1}, 32, 2)
    recipe = tmp_path / "r.yaml"
    stream = {"of": "text", "encoder": "clip_vit_b32", "weights": None, "texts": "questions"}
    recipe.write_text(yaml.safe_dump({"streams": {"questions": stream}}))
    pytest.importorskip("open_clip")
    assert main(["extract", "avqa", "--root", str(root), "--recipe", str(recipe), "--device", "cpu"]) == 0
    store = Store(root / "features/questions.h5")
    assert (sorted(store.names), store.shape, store.steps("0")) == (["0", "1", "2"], (512,), 1)
    recipe.write_text(yaml.safe_dump({"streams": {"classes": {**stream, "texts": "classes"}}}))
    assert main(["extract", "avqa", "--root", str(root), "--recipe", str(recipe), "--device", "cpu"]) == 2
    assert "AVQA has no classes" in capsys.readouterr().err


@pytest.fixture
def merging():
    """The module of token merging, which needs timm, which needs a torchvision that fits torch."""
    pytest.importorskip("torchvision")
    return pytest.importorskip("avkit.encoders.merging")


class Halves(VisualEncoder):
    """Merges the left and the right half of a picture into a token each."""

    width = 3

    def forward(self, frames):
        halves = torch.stack(frames.float().chunk(2, -1), 1).mean((-2, -1))
        sources = torch.tensor([[0, 1], [0, 1]]).expand(len(frames), -1, -1)
        return VisualFeatures(halves[:, 0], halves, (1, 2), sources=sources)


def test_the_places_of_merged_tokens_are_a_stream(monkeypatch):
    monkeypatch.setattr("avkit.extraction.extractor.build_visual_encoder", lambda name, weights: Halves())
    how = {"of": "pictures", "encoder": "x", "weights": None, "resize": 438, "crop": 384}
    streams = [FeatureStream("tokens", keep="patches", **how), FeatureStream("tokens_sources", keep="sources", **how)]
    extractor = FeatureExtractor(streams, torch.device("cpu"))
    assert len(extractor.groups) == 1, "one pass makes both"
    facts = extractor.facts("d")
    assert (facts["tokens_sources"].encoder, facts["tokens_sources"].crop) == ("x sources", 384 / 438)
    assert facts["tokens"].crop == 384 / 438
    frames = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    assert list(extractor.feed(EncoderInputs("a", {"tokens": frames, "tokens_sources": frames}))) == []
    made = {clip.stream: clip.values for clip in extractor.flush()}
    assert made["tokens"].shape == (3, 2, 3)
    assert made["tokens_sources"].tolist() == [[[0, 1], [0, 1]]] * 3


def test_an_encoder_that_merges_nothing_has_no_places():
    stream = FeatureStream("x", "pictures", "small", weights=None, keep="sources")
    extractor = FeatureExtractor([stream], torch.device("cpu"))
    frames = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert list(extractor.feed(EncoderInputs("a", {"x": frames}))) == []
    with pytest.raises(DataError, match="'x': encoder 'small' merges no tokens, so it has no sources"):
        list(extractor.flush())


class TestMerging:
    """Token merging, against a plain form that goes token by token."""

    def plain(self, x, size, metric, count):
        unit = metric / metric.norm(dim=-1, keepdim=True)
        even, odd = list(range(0, len(x), 2)), list(range(1, len(x), 2))
        best = {}
        for a in even[1:]:
            scores = [float(unit[a] @ unit[b]) for b in odd]
            best[a] = (max(scores), odd[int(np.argmax(scores))])
        gone = sorted(best, key=lambda a: -best[a][0])[:count]
        values = {k: [(x[k], float(size[k]))] for k in range(len(x))}
        for a in gone:
            values[best[a][1]] += values.pop(a)
        order = [a for a in even if a not in gone] + odd
        total = [sum(w for _, w in values[k]) for k in order]
        rows = [sum(v * w for v, w in values[k]) / t for k, t in zip(order, total, strict=True)]
        return torch.stack(rows), torch.tensor(total)[:, None]

    @pytest.mark.parametrize(("length", "count"), [(9, 3), (10, 4), (17, 8), (577, 25)])
    def test_equals_the_plain_form(self, length, count):
        torch.manual_seed(length)
        x, metric = torch.randn(2, length, 6), torch.randn(2, length, 5)
        size = torch.randint(1, 4, (2, length, 1)).float()
        merged, sizes = merge_tokens(x, size, metric, count)
        assert merged.shape == (2, length - count, 6)
        for k in range(2):
            expected, total = self.plain(x[k], size[k], metric[k], count)
            torch.testing.assert_close(merged[k], expected)
            torch.testing.assert_close(sizes[k], total)
        torch.testing.assert_close(merged[:, 0], x[:, 0])
        torch.testing.assert_close((merged * sizes).sum(1), (x * size).sum(1))

    @pytest.mark.parametrize("length", [9, 10, 17])
    def test_each_token_is_known_to_go_where_it_was_merged(self, length):
        """Over three rounds, what is put into tokens is found again by their numbers."""
        torch.manual_seed(length)
        values, metric = torch.randn(2, length, 3), torch.randn(2, length, 5)
        numbers = torch.arange(length).expand(2, -1)
        x, size = values, torch.ones(2, length, 1)
        for count in (3, 2, 1):
            pairs = choose_pairs(metric, count)
            numbers = pairs.destinations(x.shape[1]).gather(1, numbers)
            metric, _ = merge_pairs(metric, size, pairs)
            x, size = merge_pairs(x, size, pairs)
        for row in range(2):
            for token in range(x.shape[1]):
                own = values[row][numbers[row] == token]
                torch.testing.assert_close(own.mean(0), x[row, token])
                assert len(own) == int(size[row, token])
        assert numbers[:, 0].tolist() == [0, 0]

    def test_nothing_to_merge(self):
        x, size = torch.randn(1, 5, 4), torch.ones(1, 5, 1)
        assert merge_tokens(x, size, x, 0)[0] is x

    def test_never_more_than_half(self):
        x = torch.randn(1, 9, 4)
        assert merge_tokens(x, torch.ones(1, 9, 1), x, 100)[0].shape[1] == 5

    def test_577_tokens_become_14_in_24_blocks(self):
        remaining = 577
        for _ in range(24):
            remaining -= min(25, remaining - 14, (remaining - 1) // 2)
        assert remaining == 14

    def test_without_merging_it_is_the_network_itself(self, merging):
        torch.manual_seed(0)
        vit = merging.MergingViT("vit_tiny_patch16_224", tokens=197).eval()
        pictures = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
        with torch.inference_mode():
            expected = vit.network.forward_features(vit.preprocess(pictures))
            torch.testing.assert_close(vit(pictures).patches, expected, atol=1e-4, rtol=1e-4)
            vit.tokens = 14
            few = vit(pictures)
        assert few.patches.shape == (2, 14, 192)
        assert torch.isfinite(few.patches).all()
        torch.testing.assert_close(few.frame, few.patches[:, 0])
        assert few.sources.shape == (2, 14, 14)
        assert int(few.sources.max()) <= 13
        assert set(few.sources[0].flatten().tolist()) >= set(range(1, 14))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_features_of_a_cpu(root, tiny, whole, tmp_path):
    sources = sources_of(find_dataset("llp"), root)[0]
    assert extract(sources, read_recipe(tiny), tmp_path, dataset="llp", device="cuda", workers=0).done == 14
    for name in ("seen", "frame", "twice"):
        here, there = Store(whole / f"{name}.h5"), Store(tmp_path / f"{name}.h5")
        for clip in here.names:
            np.testing.assert_allclose(here.read(clip), there.read(clip), atol=2e-2)


class TestCluster:
    """Two Ray workers on this machine."""

    @pytest.fixture(autouse=True)
    def _ray(self):
        pytest.importorskip("ray")

    @pytest.mark.slow
    def test_a_worker_killed_in_the_middle(self, root, tiny, whole, tmp_path):
        from avkit.extraction.cluster import Cluster, ray_runner

        recipe, sources = read_recipe(tiny), sources_of(find_dataset("llp"), root)[0]
        killed, decoded = [], []

        def kill():
            until = time.monotonic() + 120
            while time.monotonic() < until and not killed:
                for shard in (tmp_path / ".tiny-parts").glob("worker-*"):
                    if any(shard.rglob("*.npy")):
                        killed.append(int(shard.name.rsplit("-", 1)[1]))
                        os.kill(killed[0], signal.SIGKILL)
                        return
                time.sleep(0.002)

        thread = threading.Thread(target=kill)
        thread.start()
        runner = ray_runner(recipe, Cluster(2, device="cpu"), 5)

        def on_clip(name, error):
            decoded.append(name)

        outcome = extract(sources, recipe, tmp_path, dataset="llp", runner=runner, on_clip=on_clip)
        thread.join()
        assert len(killed) == 1
        assert sorted(decoded) == sorted(s.name for s in sources), "every clip once"
        assert (outcome.done, outcome.failed) == (8, {})
        same(whole, tmp_path)

    @pytest.mark.slow
    def test_the_same_files_as_without_ray(self, root, tiny, whole, tmp_path):
        from avkit.extraction.cluster import Cluster, ray_runner

        recipe, sources = read_recipe(tiny), sources_of(find_dataset("llp"), root)[0]
        (tmp_path / "cut.mp4").write_bytes(b"no video")
        broken = MediaSource("broken", tmp_path, video="cut.mp4")
        decoded = {}
        runner = ray_runner(recipe, Cluster(2), 64)
        out = tmp_path / "out"
        outcome = extract(
            [*sources, broken], recipe, out, dataset="llp", runner=runner, on_clip=decoded.__setitem__, batch_size=64
        )
        assert (outcome.done, list(outcome.failed)) == (8, ["broken"])
        assert {name for name, error in decoded.items() if error} == {"broken"}
        assert sorted(path.name for path in out.glob("*.h5")) == sorted(path.name for path in whole.glob("*.h5"))
        for path in whole.glob("*.h5"):
            here, there = Store(path), Store(out / path.name)
            assert here.facts == there.facts
            for name in here.names:
                np.testing.assert_array_equal(here.read(name), there.read(name))

    def test_without_ray(self, tiny, monkeypatch):
        from avkit.errors import AvkitError
        from avkit.extraction.cluster import Cluster, ray_runner

        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(AvkitError, match=r"pip install 'avkit\[ray\]'"):
            ray_runner(read_recipe(tiny), Cluster(2, device="cpu"), 5)


class TestReadingAgain:
    """Clips are read again where storage failed, and are set aside at once where they are damaged."""

    @pytest.mark.parametrize(
        ("errors", "reads", "pauses"),
        [
            ([OSError(errno.EIO, "Input/output error")] * 2, 3, [0.5, 1.0]),
            ([UnreachableError("s3://x cannot be reached.")] * 9, 3, [0.5, 1.0]),
            ([MediaError("no media file")] * 9, 1, []),
            ([FileNotFoundError(errno.ENOENT, "No such file")] * 9, 1, []),
            ([PIL.UnidentifiedImageError("cannot identify image file")] * 9, 1, []),
        ],
    )
    def test_of_a_cluster(self, monkeypatch, errors, reads, pauses):
        from avkit.extraction.cluster import _to_json, decode_row

        left, read, slept = list(errors), [], []

        def fail(dataset, source):
            read.append(source.name)
            if left:
                raise left.pop()
            return {"x": torch.zeros(1)}

        monkeypatch.setattr(SourceDataset, "read", fail)
        monkeypatch.setattr("avkit.extraction.cluster.time.sleep", slept.append)
        row = decode_row({"name": "a", "source": _to_json(MediaSource("a", Path()))}, [], {}, ["x"])
        assert (len(read), slept) == (reads, pauses)
        assert bool(row["error"]) == bool(left)

    def test_of_a_connection_that_failed(self):
        with pytest.raises(DataError) as raised, file_errors("s3://x/y", "cannot be read"):
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")
        assert is_failure_of_storage(raised.value)


@pytest.mark.parametrize(
    ("address", "environment", "asked"),
    [(None, None, "local"), (None, "h:1", "h:1"), ("auto", "h:1", "auto"), (None, "local", "local")],
)
def test_the_cluster_that_is_asked_for(monkeypatch, address, environment, asked):
    """Ray refuses to be told the CPUs of a cluster that exists; one of its own is not to be another's."""
    ray = pytest.importorskip("ray")
    given = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    with ray_started(Cluster(2, address)):
        assert given["address"] == asked
        assert (given["num_cpus"] is None) == (asked != "local")


@pytest.mark.parametrize(
    ("resources", "cluster", "share"),
    [
        ({"CPU": 8}, Cluster(), Share("cpu", 0.0, 0.9)),
        ({"CPU": 1}, Cluster(), Share("cpu", 0.0, 0.0)),
        ({"CPU": 8, "GPU": 2}, Cluster(), Share("cuda", 1.0, 0.0)),
        ({"CPU": 8, "GPU": 2}, Cluster(gpus=0.5), Share("cuda", 0.5, 0.0)),
        ({"CPU": 8, "GPU": 2}, Cluster(device="cpu"), Share("cpu", 0.0, 0.9)),
        ({"CPU": 8}, Cluster(device="cuda"), None),
    ],
)
def test_what_each_network_gets_is_asked_of_the_cluster(monkeypatch, resources, cluster, share):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    if share is None:
        with pytest.raises(ValueError, match="--device is cuda, and no machine of the Ray cluster has a GPU"):
            share_of(cluster)
    else:
        assert share_of(cluster) == share


def test_texts_are_made_on_this_machine(monkeypatch, tmp_path):
    """The device of a cluster need not be here; what is here need not be asked for."""
    from avkit.cli import extract as command

    devices = []
    monkeypatch.setattr(
        "avkit.extraction.text_features.extract_sentences", lambda *words: devices.append(words[-1]) or tmp_path
    )
    monkeypatch.setattr("avkit.extraction.sources.sentences_of", lambda *words: {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    recipe = tmp_path / "r.yaml"
    stream = {"of": "text", "encoder": "clip_vit_b32", "weights": None, "texts": "questions"}
    recipe.write_text(yaml.safe_dump({"streams": {"questions": stream}}))
    options = command.parser().parse_args(["avqa", "--root", str(tmp_path), "--device", "cuda"])
    command._extract_texts(options, read_recipe(recipe), tmp_path, Cluster())
    assert devices == [torch.device("cpu")]
    with pytest.raises(ValueError, match="--device cuda"):
        command._extract_texts(options, read_recipe(recipe), tmp_path, None)


def test_a_folder_of_videos_in_a_bucket(root, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("AVKIT_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    videos = sorted((root / "video").iterdir())[:2]
    for path in videos:
        system.pipe_file(f"/films/{path.name}", path.read_bytes())
    try:
        words = ["memory://films", "--recipe", str(tiny), "--workers", "0"]
        assert main(["extract", *words, "--out", str(tmp_path / "out")]) == 0
        assert sorted(Store(tmp_path / "out" / "frame.h5").names) == [path.stem for path in videos]
        assert main(["extract", *words]) == 2
        assert not (tmp_path / "memory:").exists()
    finally:
        system.store.clear()


def test_shards_of_two_processes_are_one(root, tiny, whole, tmp_path):
    recipe, sources = read_recipe(tiny), sources_of(find_dataset("llp"), root)[0]
    names = [s.name for s in recipe.streams]
    for shard, part in (("a", sources[:5]), ("b", sources[4:])):
        extractor = FeatureExtractor(recipe.streams, torch.device("cpu"), 16)
        extract_clips(part, extractor, ExtractionProgress(tmp_path / ".tiny-parts", names, shard), workers=0)
    outcome = extract(sources, recipe, tmp_path, dataset="llp", workers=0)
    assert (outcome.done, outcome.new) == (8, 0)
    same(whole, tmp_path)


def test_two_clips_of_one_name_in_one_folder_of_stores(root, tiny, tmp_path, monkeypatch, capsys):
    for number, video in enumerate(sorted((root / "video").iterdir())[:2]):
        folder = tmp_path / str(number) / "videos"
        folder.mkdir(parents=True)
        (folder / "clip.mp4").write_bytes(video.read_bytes())
    words = ["videos", "--recipe", str(tiny), "--out", str(tmp_path / "out"), "--workers", "0"]
    monkeypatch.chdir(tmp_path / "0")
    assert main(["extract", *words]) == 0
    before = (tmp_path / "out" / "frame.h5").read_bytes()
    monkeypatch.chdir(tmp_path / "1")
    capsys.readouterr()
    assert main(["extract", *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "holds features of 1 clip of the same name from another file: 'clip' of " in error
    assert error.endswith("Choose another --out, or rename the files.")
    assert (tmp_path / "out" / "frame.h5").read_bytes() == before
    (tmp_path / "0").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert main(["extract", *words]) == 0, "a file that was moved is the same one"


def test_stores_of_shards(root, tiny, whole, tmp_path, capsys):
    """They go on where an extraction was stopped, take the place of stores of the other form, and are read by runs."""
    words = ["llp", "--root", str(root), "--recipe", str(tiny), "--out", str(tmp_path), "--workers", "0"]
    assert main(["extract", *words, "--limit", "3"]) == 0
    assert main(["extract", *words, "--form", "shards"]) == 0
    assert sorted(path.name for path in tmp_path.glob("[a-z]*")) == ["frame", "seen", "tokens", "twice"]
    for stream in ("seen", "frame", "twice"):
        store = ShardedStore(tmp_path / stream)
        expected = Store(whole / f"{stream}.h5")
        assert set(store.names) == set(expected.names)
        for name in store.names:
            assert np.array_equal(store.read(name), expected.read(name))
    assert main(["extract", *words, "--form", "shards"]) == 0
    assert "8" in capsys.readouterr().out
    dataset = find_dataset("llp")(root, "test", visual=str(tmp_path / "frame"), audio=str(tmp_path / "frame"))
    assert dataset.item(0, frozenset()).visual is not None


def test_files_are_looked_at_where_there_is_something_to_hold_them_against(tmp_path, monkeypatch):
    names = ["noted", "done", "new", "moved"]
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    sources = [MediaSource(name, tmp_path, f"{name}.mp4") for name in names]
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "old.mp4").write_bytes(b"moved")
    check_origins(out, [sources[0], MediaSource("moved", tmp_path, "old.mp4")], ())
    looked = []
    monkeypatch.setattr(origins, "_digest", lambda path: looked.append(path.stem) or digest_of(path))
    check_origins(out, sources, {"done", "moved"})
    assert sorted(looked) == ["moved", "new"]
    (tmp_path / "moved.mp4").write_bytes(b"other")
    with pytest.raises(DataError, match="holds features of 1 clip of the same name from another file: 'moved' of "):
        check_origins(out, sources, {"done", "moved"})
