# SPDX-License-Identifier: Apache-2.0
"""Opening media files: known formats of one file only, and the tracks that a player would take."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avkit.errors import AvkitError, MediaError
from avkit.reading.boundary import reason_of
from avkit.reading.copies import local_copy
from avkit.reading.pictures import MAX_PIXELS
from avkit.reading.remote import open_url, url_of

#: Formats that are read, by FFmpeg's names. Playlists and scripts (hls, dash, concat, image2, ...) are not among them,
#: because they open other files, and neither are formats that take any bytes for pictures or sound.
_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,vc1,flv,live_flv,asf,ogg,nut,mxf,gxf,"
    "dv,rm,mjpeg,gif,apng,wtv,yuv4mpegpipe,wav,w64,aiff,flac,mp3,aac,ac3,eac3,dts,truehd,amr,amrnb,amrwb,caf,au,voc,wv,"
    "ape,tta,tak,dsf,loas,mpc,mpc8"
)
#: How files begin that only name others.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<ASX", b"<asx", b"<smil", b"v=0")
#: How BMP, TIFF, JPEG 2000 and Netpbm pictures begin.
_PICTURES = (b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"P4", b"P5", b"P6")
#: Format tags of WAV whose samples are plain numbers: integers, floats, and either of them with a channel mask.
_PLAIN_WAVE = (0x0001, 0x0003, 0xFFFE)


@contextmanager
def open_media(path: str | Path, *, whole: bool = True) -> Iterator[Any]:
    """A file as a PyAV container; whatever PyAV raises in the block becomes a `MediaError`.

    Metadata that are no UTF-8 are read with replacement characters.

    Args:
        path: The file, by path or URL.
        whole: Whether all of it will be read: then a file at a URL is copied; else the parts that are asked for are
            read where it is.

    Raises:
        MediaError: If the file cannot be opened or is damaged, with the reason; if it is a playlist.
    """
    import av

    path = Path(path)
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    url = url_of(path)
    if url is not None and not whole:
        with (
            open_url(url) as parts,
            _media_errors(path),
            av.open(parts, metadata_errors="replace", options={"format_whitelist": _FORMATS}) as container,
        ):
            yield container
        return
    with local_copy(path) as here:
        _check_there(path, here)
        with (
            _media_errors(path),
            # "file:" keeps a colon in a name from being read as a protocol
            av.open(f"file:{here}", metadata_errors="replace", options=options) as container,
        ):
            for stream in container.streams.video:
                stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container


@contextmanager
def _media_errors(path: Path) -> Iterator[None]:
    """Turn whatever PyAV raises into a `MediaError`."""
    import av

    try:
        yield
    except AvkitError:
        raise
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        raise not_media(path) from error
    except Exception as error:
        place = url_of(path) or path
        raise MediaError(f"{place} cannot be read: {reason_of(error)}. Download or export it again.") from error


def _check_there(path: Path, here: Path) -> None:
    """Refuse what is no file, or an empty one.

    Args:
        path: The file as the user names it.
        here: Where it is on this machine.
    """
    if not here.exists():
        raise MediaError(f"{path} does not exist. Check the spelling of the path.")
    if here.is_dir():
        raise MediaError(f"{path} is a folder. Pass one media file.")
    if here.stat().st_size == 0:
        raise MediaError(f"{url_of(path) or path} is empty (0 bytes). Download or export it again.")
    _check_wave(path)


def video_stream(container: Any) -> Any:
    """The video track that is flagged as default, else the first, or None; cover art does not count."""
    from av.stream import Disposition

    pictures = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    return _default_of(pictures)


def audio_stream(container: Any) -> Any:
    """The audio track that is flagged as default, else the first, or None."""
    return _default_of(list(container.streams.audio))


def _default_of(streams: list[Any]) -> Any:
    from av.stream import Disposition

    for stream in streams:
        if Disposition.default in stream.disposition:
            return stream
    return streams[0] if streams else None


def decode_packet(packet: Any) -> list[Any]:
    """Frames of a packet; none where it is damaged."""
    import av

    try:
        return list(packet.decode())
    except av.error.FFmpegError:
        return []


def not_media(path: Path) -> MediaError:
    """The error for a file without tracks: a playlist, an MP4 whose index is missing, or another kind of file."""
    head = _read_head(path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        return MediaError(f"{path} is a playlist or script that names other files. Pass the media file itself.")
    if head[4:8] == b"ftyp":
        return MediaError(
            f"{path} is a cut off MP4: its index (the 'moov' box, written last) is missing, so nothing of it can be "
            "read. Download or record it again."
        )
    return MediaError(
        f"{path} is not a media file: neither picture nor sound is found in it. Pass a video, sound or picture file."
    )


def is_picture(path: Path) -> bool:
    """Whether a file begins as a still picture does; animations and streams of JPEGs do not count."""
    head = _read_head(path)
    if head[4:8] == b"ftyp":  # AVIF and HEIC, which FFmpeg takes for a video of one frame
        return head[8:12] in (b"avif", b"heic", b"heix", b"mif1")
    if head.startswith(b"\xff\xd8\xff"):
        return path.suffix.lower() not in (".mjpeg", ".mjpg")
    if head.startswith(b"\x89PNG"):
        return b"acTL" not in head
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_webp or head.startswith(_PICTURES)


def _read_head(path: Path) -> bytes:
    with local_copy(path) as here, here.open("rb") as file:
        return file.read(64)


def _check_wave(path: Path) -> None:
    """Refuse a WAV whose header contradicts itself; FFmpeg would read noise in some number of channels."""
    with local_copy(path) as here, here.open("rb") as file:
        head = file.read(4096)
    start = head.find(b"fmt ")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE" or start < 0 or len(head) < start + 24:
        return
    tag, channels, _, _, block, bits = struct.unpack_from("<HHIIHH", head, start + 8)
    if tag in _PLAIN_WAVE and bits and block != channels * -(-bits // 8):
        raise MediaError(
            f"{path} is damaged: its header states {channels} channels of {bits} bits, which is not {block} bytes at "
            "a time. Download or export it again."
        )
