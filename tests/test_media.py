# SPDX-License-Identifier: Apache-2.0
import math
import re
from pathlib import Path

import clips
import numpy as np
import pytest
import torch
from PIL import Image

from avkit.errors import MediaError
from avkit.media.decode import (
    iter_frames,
    iter_frames_at,
    load_image,
    open_clip,
    probe,
    read_clip,
    read_frames,
    read_waveform,
    write_video,
)
from avkit.media.image import image_size
from avkit.media.stream import iter_clips

RATE = 16_000


def times_every(seconds, count):
    return [k * seconds for k in range(count)]


def numbers(frames):
    return [clips.read_number(f.permute(1, 2, 0).numpy()) for f in frames]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def three_seconds(folder):
    sound = clips.tone(3, RATE)
    return clips.write_clip(folder / "plain.mp4", times_every(0.1, 30), sound=sound, options={"bf": "2"})


class TestFrames:
    def test_middle_of_each_second(self, three_seconds):
        frames = read_frames(three_seconds)
        assert frames.dtype == torch.uint8
        assert frames.shape == (3, 3, 48, 64)
        assert numbers(frames) == [5, 15, 25]  # 0.5 s is the very moment frame 5 appears

    def test_rate_and_offset(self, three_seconds):
        assert numbers(read_frames(three_seconds, rate=2, offset=0)) == [0, 5, 10, 15, 20, 25]

    def test_times_in_any_order_and_out_of_range(self, three_seconds):
        assert numbers(read_frames(three_seconds, [2.0, -1.0, 0.19, 99.0, 0.19])) == [20, 0, 1, 29, 1]

    def test_no_times(self, three_seconds):
        assert read_frames(three_seconds, []).shape == (0, 3, 48, 64)

    def test_variable_frame_rate(self, folder):
        times = [0.0, 0.04, 0.5, 0.52, 1.9, 2.0]
        path = clips.write_clip(folder / "vfr.mp4", times)
        query_times = [0.0, 0.039, 0.041, 0.49, 0.51, 0.6, 1.8, 1.95, 2.05]
        shown = [max(k for k, t in enumerate(times) if t <= query) for query in query_times]
        assert numbers(read_frames(path, query_times)) == shown

    @pytest.mark.parametrize("suffix", [".mkv", ".ts"])
    def test_clock_that_does_not_start_at_zero(self, folder, suffix):
        path = clips.write_clip(folder / f"late{suffix}", [5 + t for t in times_every(0.1, 20)])
        info = probe(path)
        assert info.start > 1
        assert info.duration == pytest.approx(2, abs=0.02)
        assert numbers(read_frames(path)) == [5, 15]

    def test_stream_without_time_stamps(self, folder):
        path = clips.write_clip(folder / "raw.h264", times_every(0.1, 20), options={"bf": "0"})
        fps = probe(path).fps
        assert fps > 0
        assert numbers(read_frames(path, [3.2 / fps, 11.4 / fps])) == [3, 11]

    @pytest.mark.parametrize("degrees", [90, 180, 270, "mirror"])
    def test_turned_upright(self, folder, degrees):
        path = clips.turn(clips.write_clip(folder / f"turned{degrees}.mp4", times_every(0.1, 10)), degrees)
        picture = clips.numbered_picture(5)
        expected = picture[:, ::-1] if degrees == "mirror" else np.rot90(picture, degrees // 90)
        info = probe(path)
        assert info.size == expected.shape[:2]
        assert degrees in ("mirror", info.rotation)
        got = read_frames(path, [0.55])[0].permute(1, 2, 0).numpy()
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).mean() < 12
        resized = read_frames(path, [0.55], size=(20, 30))[0].permute(1, 2, 0).numpy()
        reference = np.asarray(
            Image.fromarray(np.ascontiguousarray(expected)).resize((30, 20), Image.Resampling.BICUBIC)
        )
        assert np.abs(resized.astype(int) - reference).mean() < 12

    def test_odd_size_is_kept(self, folder):
        pictures = [clips.numbered_picture(k, 37, 51) for k in range(4)]
        path = clips.write_clip(folder / "odd.mkv", times_every(0.5, 4), pictures=pictures, codec="ffv1")
        frames = read_frames(path, times_every(0.5, 4))
        np.testing.assert_array_equal(frames.permute(0, 2, 3, 1).numpy(), np.stack(pictures))  # lossless codec

    def test_pixels_are_made_square(self, folder):
        path = clips.write_clip(folder / "wide.mp4", times_every(0.1, 10), sample_aspect_ratio="3/2")
        assert probe(path).size == (48, 96)
        assert read_frames(path).shape == (1, 3, 48, 96)
        assert numbers(read_frames(path, [0.35])) == [3]

    def test_colours_survive(self, three_seconds):
        picture = read_frames(three_seconds, [0.0])[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(picture[40, 10] - [255, 0, 0]).max() < 12
        assert np.abs(picture[40, 54] - [0, 0, 255]).max() < 12

    def test_iter_frames_gives_all_with_their_times(self, three_seconds):
        decoded = [(t, clips.read_number(p)) for t, p in iter_frames(three_seconds)]
        assert [n for _, n in decoded] == list(range(30))
        np.testing.assert_allclose([t for t, _ in decoded], times_every(0.1, 30), atol=1e-3)

    @pytest.mark.parametrize(("key", "value"), [("rate", 0), ("size", 0)])
    def test_bad_numbers(self, three_seconds, key, value):
        with pytest.raises(ValueError, match=f"{key} is 0"):
            read_frames(three_seconds, **{key: value})


class TestSound:
    def test_16_bit_samples_are_exact(self, folder):
        samples = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype(np.int16)
        path = folder / "exact.wav"
        write_pcm(path, samples[:, None], RATE)
        np.testing.assert_array_equal(read_waveform(path).numpy(), samples.astype(np.float32) / 32768)

    def test_stereo_is_averaged(self, folder):
        left, right = clips.tone(1, RATE, 300), clips.tone(1, RATE, 700, 0.25)
        path = clips.write_wav(folder / "stereo.wav", np.stack([left, right]), layout="stereo")
        np.testing.assert_allclose(read_waveform(path).numpy(), (left + right) / 2, atol=1e-4)

    @pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
    def test_resampled_tone_is_the_tone(self, folder, rate):
        path = clips.write_wav(folder / f"{rate}.wav", clips.tone(2, rate, 500), rate)
        waveform = read_waveform(path).numpy()
        assert abs(len(waveform) - 2 * RATE) <= 2
        inner = slice(200, 31_800)  # the filter needs some samples at both ends
        np.testing.assert_allclose(waveform[inner], clips.tone(2, RATE, 500)[inner], atol=2e-3)

    def test_surround_follows_bs775(self, folder):
        order = ["FL", "FR", "FC", "LFE", "BL", "BR"]
        half = math.sqrt(0.5)
        total = 1 + 2 * half  # left of a stereo mix: own front channel, centre, own surround
        shares = {"FL": 0.5, "FR": 0.5, "FC": half, "LFE": 0, "BL": half / 2, "BR": half / 2}
        for k, name in enumerate(order):
            sound = np.zeros((6, 4_000), np.float32)
            sound[k] = 0.8
            path = clips.write_wav(folder / f"{name}.wav", sound, layout="5.1")
            level = read_waveform(path).numpy()
            np.testing.assert_allclose(level, 0.8 * shares[name] / total, atol=1e-4)

    def test_late_sound_is_preceded_by_silence(self, folder):
        loud = clips.tone(1, RATE)
        path = clips.write_clip(
            folder / "late_sound.mkv", times_every(0.1, 20), sound=loud, sound_at=0.5, sound_codec="pcm_s16le"
        )
        waveform = read_waveform(path).numpy()
        assert not waveform[: 8_000 - 20].any()
        np.testing.assert_allclose(waveform[8_000:24_000], loud, atol=1e-4)

    def test_sound_from_before_the_picture_is_cut(self, folder):
        loud = clips.tone(3, RATE)
        path = clips.write_clip(
            folder / "early_sound.mkv", [1 + t for t in times_every(0.1, 20)], sound=loud, sound_codec="pcm_s16le"
        )
        np.testing.assert_allclose(read_waveform(path).numpy(), loud[RATE:], atol=1e-4)

    def test_aac_keeps_its_time(self, folder):
        click = np.zeros(2 * 44_100, np.float32)
        click[44_100] = 0.9
        path = clips.write_clip(folder / "click.mp4", times_every(0.1, 20), sound=click, rate=44_100)
        assert abs(int(read_waveform(path).abs().argmax()) - RATE) < 16  # one millisecond


class TestClip:
    def test_picture_and_sound_share_the_steps(self, three_seconds):
        clip = read_clip(three_seconds, size=32)
        assert clip.steps == 3
        assert clip.frames.shape == (3, 3, 32, 32)
        assert clip.waveform.shape == (3 * RATE,)
        assert clip.waveform.dtype == torch.float32
        assert (clip.source_size, clip.fps, clip.hop) == ((48, 64), 10, 1.0)
        assert clip.duration == pytest.approx(3, abs=0.1)

    def test_hop_and_steps(self, three_seconds):
        assert numbers(read_clip(three_seconds, hop=0.5).frames) == [2, 7, 12, 17, 22, 27]
        longer = read_clip(three_seconds, steps=5)
        assert numbers(longer.frames) == [5, 15, 25, 29, 29]
        assert not longer.waveform[-RATE:].any()

    @pytest.mark.parametrize(("seconds", "steps"), [(0.2, 1), (1.4, 1), (1.6, 2)])
    def test_steps_are_rounded(self, folder, seconds, steps):
        path = clips.write_clip(folder / f"{seconds}.mp4", times_every(0.1, round(seconds * 10)))
        assert read_clip(path, silent_ok=True).steps == steps

    def test_silence_only_when_allowed(self, folder):
        path = clips.write_clip(folder / "silent.mp4", times_every(0.1, 20))
        with pytest.raises(MediaError, match=r"silent\.mp4 has no audio track.*silent_ok=True \(--silent_ok"):
            read_clip(path)
        assert not read_clip(path, silent_ok=True).waveform.any()

    def test_sound_of_its_own_file(self, folder, three_seconds):
        sound = clips.tone(3, RATE, 1_000)
        path = clips.write_wav(folder / "own.wav", sound)
        np.testing.assert_allclose(read_clip(open_clip(three_seconds, audio=path)).waveform.numpy(), sound, atol=1e-4)

    def test_picture_with_sound(self, folder):
        picture = clips.numbered_picture(9)
        Image.fromarray(picture).save(folder / "still.png")
        sound = clips.write_wav(folder / "four.wav", clips.tone(4, RATE))
        clip = read_clip(open_clip(folder / "still.png", audio=sound))
        assert clip.steps == 4
        assert clip.fps == 0
        np.testing.assert_array_equal(clip.frames[3].permute(1, 2, 0).numpy(), picture)
        with pytest.raises(MediaError, match=r"still picture and has no sound\. Pass its sound with audio="):
            read_clip(folder / "still.png")

    def test_photograph_is_turned_by_its_exif(self, folder):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn a quarter clockwise to show
        Image.fromarray(clips.numbered_picture(9)).save(folder / "photo.jpg", exif=exif)
        assert probe(folder / "photo.jpg").size == (64, 48)
        picture = read_frames(folder / "photo.jpg", [0.0])[0].numpy()
        assert picture[0, 5, 5] > 200  # red was at the lower left
        assert picture[2, 5, 5] < 50

    def test_bad_steps(self, three_seconds):
        with pytest.raises(ValueError, match="steps is 0"):
            read_clip(three_seconds, steps=0)


class TestOpenClip:
    @pytest.fixture
    def probed(self, monkeypatch):
        """Names of the files that are probed."""
        names = []

        def count(path):
            names.append(Path(path).name)
            return probe(path)

        monkeypatch.setattr("avkit.media.clip.probe", count)
        return names

    def test_a_file_is_probed_once_however_often_it_is_read(self, folder, three_seconds, probed):
        clip = open_clip(three_seconds)
        read_clip(clip)
        read_frames(clip)
        read_waveform(clip)
        assert len(list(iter_frames(clip))) == 30
        assert len(list(iter_frames_at(clip, [0.5, 1.5]))) == 2
        assert [part.steps for part in iter_clips(clip, 2)] == [2, 1]
        write_video(folder / "copy.mp4", iter_frames(clip), 10, clip)
        assert open_clip(clip) is clip
        assert probed == ["plain.mp4"]

    def test_a_separate_audio_file_is_probed_once_and_when_needed(self, folder, three_seconds, probed):
        path = clips.write_wav(folder / "separate.wav", clips.tone(2, RATE))
        clip = open_clip(three_seconds, audio=path)
        read_frames(clip)
        assert probed == ["plain.mp4"]
        for _ in range(2):
            assert len(read_waveform(clip)) == 2 * RATE
        assert probed == ["plain.mp4", "separate.wav"]
        assert clip.duration == clip.info.duration

    def test_a_still_image_lasts_as_long_as_its_audio(self, folder):
        Image.fromarray(clips.numbered_picture(9)).save(folder / "shown.png")
        path = clips.write_wav(folder / "two.wav", clips.tone(2, RATE))
        assert open_clip(folder / "shown.png", path).duration == pytest.approx(2)
        assert open_clip(folder / "shown.png").duration == 0

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_size_of_an_image_is_read_from_its_header(self, folder, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = folder / f"turned{orientation}.jpg"
        Image.fromarray(clips.numbered_picture(9)).save(path, exif=exif)
        assert image_size(path) == load_image(path).shape[:2]


class TestErrors:
    def test_missing(self, folder):
        with pytest.raises(MediaError, match=r"nowhere\.mp4 does not exist"):
            read_clip(folder / "nowhere.mp4")

    def test_folder(self, folder):
        with pytest.raises(MediaError, match=r"is a folder\. Pass one media file"):
            read_clip(folder)

    def test_empty(self, folder):
        (folder / "empty.mp4").touch()
        with pytest.raises(MediaError, match="is empty \\(0 bytes\\)"):
            read_clip(folder / "empty.mp4")

    @pytest.mark.parametrize("name", ["bytes.mp4", "letter.txt", "table.csv", "words.mp3"])
    def test_not_media(self, folder, name):
        (folder / name).write_bytes(b"name,value\nan ordinary, text\n" * 40)
        with pytest.raises(MediaError, match=f"{name} is not a media file"):
            read_clip(folder / name)

    def test_index_is_missing(self, folder):
        path = clips.cut(clips.write_clip(folder / "no_index.mp4", times_every(0.1, 30)), 0.5)
        with pytest.raises(MediaError, match="cut off MP4: its index"):
            read_clip(path, partial_ok=True)

    def test_cut_in_the_middle(self, folder):
        noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3)).astype(np.uint8)
        path = clips.write_clip(
            folder / "half.mp4",
            times_every(0.1, 30),
            pictures=list(noise),
            sound=clips.tone(3, RATE),
            container_options={"movflags": "+faststart"},
        )
        clips.cut(path, 0.5)
        for read in (read_clip, read_frames, read_waveform):
            with pytest.raises(
                MediaError, match=r"is cut off: it states 3\.\d\d s and ends at [12]\.\d\d s.*partial_ok"
            ):
                read(path)
        clip = read_clip(path, partial_ok=True)
        assert 0.5 < clip.duration < 2.5
        assert clip.waveform.any()

    def test_sound_without_picture(self, folder):
        path = clips.write_wav(folder / "only.wav", clips.tone(1, RATE))
        with pytest.raises(MediaError, match=r"only\.wav has no video track"):
            read_clip(path)

    def test_damaged_picture(self, folder):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(
            folder / "bad.png"
        )
        clips.cut(folder / "bad.png", 0.5)
        with pytest.raises(MediaError, match="damaged picture"):
            read_frames(folder / "bad.png", [0.0])

    def test_colon_in_a_name(self, folder, three_seconds):
        path = folder / "a:b.mp4"
        path.write_bytes(three_seconds.read_bytes())
        assert probe(path).has_audio


class TestWrite:
    def test_pictures_and_sound_come_back(self, folder, three_seconds):
        pictures = [clips.numbered_picture(k, 49, 65) for k in range(30)]
        path = write_video(folder / "out" / "new.mp4", pictures, fps=10, audio_from=three_seconds)
        info = probe(path)
        assert (info.size, info.fps, info.has_audio) == ((50, 66), 10, True)
        assert [clips.read_number(p) for _, p in iter_frames(path)] == list(range(30))
        waveform, tone = read_waveform(path).numpy(), clips.tone(3, RATE)
        np.testing.assert_allclose(waveform[4_000:44_000], tone[4_000:44_000], atol=0.02)
        assert [p.name for p in path.parent.iterdir()] == ["new.mp4"]

    def test_variable_frame_rate_is_kept(self, folder):
        times = [0.0, 0.04, 0.5, 0.52, 1.9]
        source = clips.write_clip(folder / "vfr_source.mp4", times)
        path = write_video(folder / "vfr_copy.mp4", iter_frames(source), fps=10, audio_from=source)
        np.testing.assert_allclose([t for t, _ in iter_frames(path)], times, atol=1e-3)
        assert not probe(path).has_audio

    def test_failure_leaves_the_old_file(self, folder):
        def broken():
            yield clips.numbered_picture(0)
            raise RuntimeError("no more")

        path = folder / "kept" / "old.mp4"
        path.parent.mkdir()
        path.write_bytes(b"old")
        with pytest.raises(RuntimeError, match="no more"):
            write_video(path, broken(), fps=10)
        assert path.read_bytes() == b"old"
        assert list(path.parent.iterdir()) == [path]

    def test_bad_input(self, folder):
        path = folder / "never.mp4"
        with pytest.raises(ValueError, match="no picture to write"):
            write_video(path, [], fps=10)
        with pytest.raises(ValueError, match="fps is 0"):
            write_video(path, [clips.numbered_picture(0)], fps=0)
        with pytest.raises(ValueError, match=r"float64 \(48, 64, 3\).*give uint8"):
            write_video(path, [clips.numbered_picture(0) / 255], fps=10)
        with pytest.raises(ValueError, match=r"\(20, 64, 3\), the first one has shape \(48, 64, 3\)"):
            write_video(path, [clips.numbered_picture(0), clips.numbered_picture(0, 20)], fps=10)
        assert not path.exists()


FIGURES = re.compile(
    r"^\| clips/(?P<file>[^|]+?) \|.*dur (?P<duration>[\d.]+)s"
    r"(?: video \w+ (?P<width>\d+)x(?P<height>\d+) fps (?P<fps>[\d.]+) decoded (?P<decoded>\d+))?"
    r"(?: audio \w+ \d+Hz ch\d fmt \w+ samples \d+ \((?P<sound>[\d.]+)s\))?"
)


@pytest.mark.parametrize("longest", [6, pytest.param(float("inf"), marks=pytest.mark.slow)])
def test_real_clips_agree_with_their_recorded_figures(real, longest):
    """All are probed, and those of at most so many seconds are read."""
    rows = [m for line in (real / "PROVENANCE.md").read_text().splitlines() if (m := FIGURES.match(line))]
    assert len(rows) > 20
    for row in rows:
        path = real / "clips" / row["file"]
        info = probe(path)
        assert info.duration == pytest.approx(float(row["duration"]), abs=0.02), path
        if row["width"]:
            assert info.size == (int(row["height"]), int(row["width"])), path
            assert info.fps == pytest.approx(float(row["fps"]), abs=1e-3), path
            if info.duration < 6:  # every frame of the short ones; the rest would take long
                assert sum(1 for _ in iter_frames(path, size=64)) == int(row["decoded"]), path
            if info.duration > longest:
                continue
            clip = read_clip(path, size=64)
            assert clip.steps == round(float(row["duration"])), path
            assert clip.frames.float().std() > 5, path
        else:
            assert len(read_waveform(path)) == pytest.approx(float(row["sound"]) * RATE, abs=10), path


def test_real_pictures_open(real):
    for path in [*real.glob("clips/crab/*/*.jpg"), *real.glob("clips/crab/*/*.png")]:
        with Image.open(path) as image:
            assert probe(path).size == (image.height, image.width)


def write_pcm(path, samples, rate):
    """16-bit PCM with the standard library, so that not a single value is touched."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
