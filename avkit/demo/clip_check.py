# SPDX-License-Identifier: Apache-2.0
"""Whether a video that somebody dropped on the page can be answered about."""

from dataclasses import dataclass
from pathlib import Path

from avkit.errors import MediaError
from avkit.media.decode import Clip, open_clip

#: Letters of a file's name that are shown.
_LETTERS = 80
#: Bytes of a megabyte.
MEGABYTE = 10**6
#: Pixels of a picture, above which a video is refused: 8K.
_MAX_PIXELS = 7680 * 4320


@dataclass(frozen=True)
class Limits:
    """What a video may be.

    Attributes:
        megabytes: Size of its file.
        seconds: Its length.
    """

    megabytes: float = 200.0
    seconds: float = 120.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"--max_{name} is {value:g}; give a number above 0.")


def shown_name(name: str) -> str:
    """The last part of a file's name, on one line and not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    printable = "".join(letter if letter.isprintable() else "?" for letter in last).strip() or "the file"
    if len(printable) <= _LETTERS:
        return printable
    return f"{printable[: _LETTERS // 2]}...{printable[-_LETTERS // 2 :]}"


def check_clip(path: Path, name: str, limits: Limits, *, silent_ok: bool) -> Clip:
    """Open a video that has picture and sound and keeps to the limits.

    Args:
        path: The file.
        name: What its owner calls it, for errors.
        limits: What it may be.
        silent_ok: Whether it may lack sound.

    Raises:
        MediaError: If it is none; the text names it by `name` and holds no path.
    """
    if not path.is_file():
        raise MediaError(f"{name} is not here any more: videos are deleted after their answer. Drop it again.")
    megabytes = path.stat().st_size / MEGABYTE
    if megabytes > limits.megabytes:
        raise MediaError(
            f"{name} has {megabytes:.0f} MB, and this page takes {limits.megabytes:g} MB. Cut it, or start the page "
            "with --max_megabytes."
        )
    try:
        clip = open_clip(path)
    except MediaError as error:
        raise MediaError(str(error).replace(str(path), name)) from error
    info = clip.info
    if info.is_image:
        raise MediaError(f"{name} is a still picture. Drop a video with sound.")
    if not info.has_video:
        raise MediaError(f"{name} has sound and no picture. Drop a video: the answers are made of both.")
    if info.size is None:
        raise MediaError(f"No picture of {name} can be decoded: the file is damaged. Export or download it again.")
    if info.is_cut:
        raise MediaError(
            f"{name} is cut off: it states {info.declared:.1f} s and ends at {info.end:.1f} s. Copy it again."
        )
    if info.duration > limits.seconds:
        raise MediaError(
            f"{name} lasts {info.duration:.0f} s, and this page takes {limits.seconds:g} s. Cut it, start the page "
            "with --max_seconds, or use 'avkit predict', with --stream for long videos."
        )
    height, width = info.size
    if height * width > _MAX_PIXELS:
        raise MediaError(
            f"{name} has pictures of {width} x {height}, and this page takes 7680 x 4320. Make it smaller."
        )
    if not info.has_audio and not silent_ok:
        raise MediaError(
            f"{name} has no sound. Drop a video with sound, or tick 'a video may lack sound' to be answered by the "
            "picture alone."
        )
    return clip
