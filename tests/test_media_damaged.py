# SPDX-License-Identifier: Apache-2.0
"""Media as they come: many channels, missing packets, clocks that restart, playlists, damaged headers, odd pictures."""

import re
import struct
import subprocess
import sys
import wave

import av
import clips
import numpy as np
import pytest
import torch
from conftest import SHARED
from PIL import Image

from avkit.errors import MediaError
from avkit.media.decode import load_image, open_clip, probe, read_clip, read_frames, read_waveform
from avkit.media.stream import iter_clips

RATE = 16_000


def tones(channels, seconds=1):
    """A tone per channel, 200, 300, ... Hz, (channels, samples)."""
    return np.stack([clips.tone(seconds, RATE, 200 + 100 * k, 0.5) for k in range(channels)])


def write_channels(path, sound):
    """16-bit PCM of any number of channels, without a layout."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(sound))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.T * 32767).astype("<i2").tobytes())
    return path


def loudest(waveform):
    """The frequency of each second that is loudest, 0 where it is silent."""
    whole = np.pad(waveform, (0, -len(waveform) % RATE))
    frequencies = []
    for second in whole.reshape(-1, RATE)[:, 2_000:14_000]:
        spectrum = np.abs(np.fft.rfft(second * np.hanning(len(second))))
        frequencies.append(round(spectrum.argmax() * RATE / len(second), -1) if np.abs(second).max() > 1e-3 else 0)
    return frequencies


class TestChannels:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 64])
    def test_each_channel_is_in_the_mix(self, tmp_path, channels):
        path = write_channels(tmp_path / "a.wav", tones(channels))
        waveform = read_waveform(path).numpy()
        assert len(waveform) == RATE
        spectrum = np.abs(np.fft.rfft(waveform)) / RATE * 2
        np.testing.assert_allclose(spectrum[[200 + 100 * k for k in range(channels)]], 0.5 / channels, atol=0.02)

    @pytest.mark.parametrize("layout", ["7.1", "7.1(wide)", "hexadecagonal"])
    def test_no_channel_of_a_named_layout_is_lost(self, tmp_path, layout):
        count = len(av.AudioLayout(layout).channels)
        path = clips.write_wav(tmp_path / "a.wav", tones(count), layout=layout)
        spectrum = np.abs(np.fft.rfft(read_waveform(path).numpy())) / RATE * 2
        assert (spectrum[[200 + 100 * k for k in range(count)]] > 0.01).all()

    def test_compressed_sound_of_eight_channels(self, tmp_path):
        path = tmp_path / "a.m4a"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=RATE, layout="7.1")
            frame = av.AudioFrame.from_ndarray(tones(8).T.reshape(1, -1), "flt", "7.1")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert read_waveform(path).abs().max() > 0.1

    def test_more_channels_than_can_be_mixed(self, tmp_path):
        path = write_channels(tmp_path / "a.wav", np.zeros((300, 800)))
        with pytest.raises(MediaError, match=r"a\.wav"):
            read_waveform(path)

    def test_a_header_that_contradicts_itself(self, tmp_path):
        path = write_channels(tmp_path / "a.wav", tones(2))
        data = bytearray(path.read_bytes())
        data[22] = 34
        path.write_bytes(data)
        with pytest.raises(MediaError, match="34 channels of 16 bits, which is not 4 bytes"):
            read_waveform(path)


def without_packets(source, path, first, last):
    """A copy without the audio packets from one second to another."""
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is None:
                continue
            time = float(packet.pts * packet.time_base)
            if packet.stream.type == "video" or not first <= time < last:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


def counting_clip(path, seconds=5):
    """A number per 0.1 s, and a tone of 200 Hz more each second."""
    sound = np.concatenate([clips.tone(1, RATE, 200 * (k + 1)) for k in range(seconds)])
    return clips.write_clip(path, [k / 10 for k in range(10 * seconds)], sound=sound, rate=RATE, options={"bf": "0"})


def numbers(path, times):
    return [clips.read_number(frame.permute(1, 2, 0).numpy()) for frame in read_frames(path, times)]


class TestTimeStamps:
    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_missing_packets_are_silence(self, tmp_path, suffix):
        source = counting_clip(tmp_path / f"whole{suffix}")
        path = without_packets(source, tmp_path / f"gap{suffix}", 2.0, 4.0)
        waveform = read_waveform(path).numpy()[: 5 * RATE]
        assert loudest(waveform) == [200, 400, 0, 0, 1000]
        streamed = torch.cat([clip.waveform for clip in iter_clips(path, 2)])
        np.testing.assert_array_equal(streamed.numpy(), waveform)

    def test_sound_alone_with_a_gap(self, tmp_path):
        source = clips.write_clip(tmp_path / "a.mka", sound=tones(1, 4)[0], rate=RATE, sound_codec="libopus")
        path = without_packets(source, tmp_path / "gap.mka", 1.0, 3.0)
        assert loudest(read_waveform(path).numpy()[: 4 * RATE]) == [200, 0, 0, 200]

    def test_a_clock_that_restarts(self, tmp_path):
        part = counting_clip(tmp_path / "part.ts", 3)
        path = tmp_path / "twice.ts"
        path.write_bytes(part.read_bytes() * 2)
        info = probe(path)
        assert info.duration == pytest.approx(6, abs=0.15)
        np.testing.assert_allclose(numbers(path, [0.55, 2.55, 3.55, 5.45]), [5, 25, 5, 25], atol=2)
        assert loudest(read_waveform(path).numpy()[: 6 * RATE]) == [200, 400, 600] * 2

    @pytest.mark.parametrize("seed", range(4))
    def test_flipped_bits_make_no_clip_longer(self, tmp_path, seed):
        data = bytearray(counting_clip(tmp_path / "part.ts").read_bytes())
        random = np.random.default_rng(seed)
        for position in random.integers(0, len(data), 60):
            data[position] ^= 1 << int(random.integers(8))
        path = tmp_path / "flipped.ts"
        path.write_bytes(data)
        try:
            assert probe(path).duration < 60
            assert len(read_waveform(path)) < 60 * RATE
        except MediaError:
            pass

    def test_time_stamps_beyond_what_bytes_can_hold(self, tmp_path):
        data = bytearray(counting_clip(tmp_path / "a.mp4").read_bytes())
        entry = data.index(b"stts") + 12  # number of samples, and the time that each takes
        count, duration = struct.unpack_from(">II", data, entry)
        struct.pack_into(">II", data, entry, count, duration * 10_000)
        path = tmp_path / "long.mp4"
        path.write_bytes(data)
        with pytest.raises(MediaError, match=r"time stamps reach to \d+\.\d\d s, which is more than its \d+ bytes"):
            probe(path)


class TestOneFileOnly:
    @pytest.mark.parametrize(
        "content",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\ninner.mp4\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile 'inner.mp4'\n",
            "\n ffconcat version 1.0\nfile inner.mp4\n",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 1234 RTP/AVP 96\n",
            '<?xml version="1.0"?>\n<MPD type="static"><Period/></MPD>\n',
        ],
    )
    @pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.wav"])
    def test_playlists(self, tmp_path, content, name):
        counting_clip(tmp_path / "inner.mp4", 1)
        (tmp_path / name).write_text(content)
        with pytest.raises(MediaError, match=r"playlist|not a media file"):
            probe(tmp_path / name)

    def test_a_name_that_stands_for_a_sequence(self, tmp_path):
        for k in range(3):
            Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / f"p{k}.png")
        (tmp_path / "p%d.png").write_bytes(b"no picture")
        with pytest.raises(MediaError, match="not a media file"):
            probe(tmp_path / "p%d.png")

    def test_picture_of_a_name_that_stands_for_a_sequence(self, tmp_path):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "p%d.png")
        assert probe(tmp_path / "p%d.png").is_image


def test_metadata_that_are_no_utf8(tmp_path):
    path = tmp_path / "a.wav"
    write_channels(path, tones(1))
    data = path.read_bytes()
    info = b"INFOINAM" + struct.pack("<I", 4) + b"F\xfcr\0"
    data += b"LIST" + struct.pack("<I", len(info)) + info
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert len(read_waveform(path)) == RATE


def test_the_track_flagged_as_default(tmp_path):
    from av.stream import Disposition

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for flag in (Disposition(0), Disposition.default):
            stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
            stream.disposition = flag.value
            streams.append(stream)
        for stream, samples in zip(streams, (np.zeros(RATE), clips.tone(1, RATE, 500)), strict=True):
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
            frame.sample_rate = RATE
            frame.pts = 0
            container.mux(stream.encode(frame))
    assert loudest(read_waveform(path).numpy()[:RATE]) == [500]


class TestPictures:
    def test_grey_of_16_bits(self, tmp_path):
        grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "g8.png")
        Image.fromarray(grey * 257).save(tmp_path / "g16.png")
        np.testing.assert_array_equal(load_image(tmp_path / "g16.png"), load_image(tmp_path / "g8.png"))

    def test_floats_from_0_to_1(self, tmp_path):
        grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
        Image.fromarray(grey).save(tmp_path / "f.tiff")
        np.testing.assert_array_equal(load_image(tmp_path / "f.tiff")[..., 0].ravel(), np.arange(256))

    @pytest.mark.parametrize("grey", [np.full((4, 4), 300.0, np.float32), np.full((4, 4), np.nan, np.float32)])
    def test_floats_whose_white_is_unknown(self, tmp_path, grey):
        Image.fromarray(grey).save(tmp_path / "f.tiff")
        with pytest.raises(MediaError, match="which of them is white is not known"):
            load_image(tmp_path / "f.tiff")

    def test_avif_with_a_sound_file(self, tmp_path):
        Image.new("RGB", (32, 32), (200, 100, 0)).save(tmp_path / "a.avif")
        write_channels(tmp_path / "a.wav", tones(1, 10))
        clip = read_clip(open_clip(tmp_path / "a.avif", tmp_path / "a.wav"))
        assert clip.steps == 10
        assert np.abs(clip.frames[9, :, 16, 16].numpy().astype(int) - [200, 100, 0]).max() < 12

    def test_a_picture_that_states_a_huge_size(self, tmp_path):
        path = tmp_path / "a.png"
        Image.new("1", (64, 64)).save(path)
        data = bytearray(path.read_bytes())
        struct.pack_into(">II", data, 16, 100_000, 100_000)
        path.write_bytes(data)
        with pytest.raises(MediaError, match=r"a\.png"):
            probe(path)


def test_the_colour_matrix_that_a_video_states(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709
        stream.codec_context.color_range = 1
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(red, "rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    picture = read_frames(path, [0.2])[0, :, 32, 32].numpy().astype(int)
    assert np.abs(picture - [255, 0, 0]).max() < 8


CASES = SHARED / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="the inputs on which the product failed are not here")
class TestCases:
    @pytest.mark.parametrize("name", ["audio_gap/gap.webm", "audio_gap/gap_aac.mkv"])
    def test_gaps(self, name):
        waveform = read_waveform(CASES / name).numpy()
        assert loudest(waveform[: 10 * RATE]) == [200, 400, 600, 0, 0, 0, 1400, 1600, 1800, 2000]

    def test_restart(self):
        assert loudest(read_waveform(CASES / "timestamps/cat_restart.ts").numpy()[: 10 * RATE])[::3] == [
            200,
            800,
            1400,
            2000,
        ]

    def test_bits(self):
        assert probe(CASES / "timestamps/bits.ts").duration == pytest.approx(10, abs=0.1)

    def test_default_track(self):
        assert read_waveform(CASES / "second_default/second_default.mkv").abs().max() > 0.5

    @pytest.mark.parametrize("name", ["s71.mp4", "c8.wav"])
    def test_channels(self, name):
        path = str(CASES / "many_channels" / name)
        code = f"from avkit.media.decode import read_waveform; print(len(read_waveform({path!r})))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert int(done.stdout) >= RATE

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("many_channels/damaged.wav", "damaged.wav is damaged"),
            ("local_playlists/local.m3u8", "playlist"),
            ("local_playlists/concat_rel.mp4", "playlist"),
            ("bombs/big.png", "13000 x 13000 pixels"),
            ("bombs/huge.png", "huge.png"),
        ],
    )
    def test_refused(self, name, message):
        with pytest.raises(MediaError, match=re.escape(message)):
            probe(CASES / name)


def test_a_video_whose_pictures_are_gone(tmp_path, monkeypatch):
    """The pass that reads facts decodes a picture, and the pass that reads pictures none."""
    path = counting_clip(tmp_path / "a.mp4", 1)
    clip = open_clip(path)
    monkeypatch.setattr("avkit.media.video.decode_packet", lambda packet: [])
    with pytest.raises(MediaError, match="no picture of it can be decoded"):
        read_frames(clip, [0.5])
    with pytest.raises(MediaError, match="no picture of it can be decoded"):
        list(iter_clips(clip, 2))
