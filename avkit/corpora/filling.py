# SPDX-License-Identifier: Apache-2.0
"""Several clips of one video, for keywords with too few videos."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from avkit.corpora.videos import SourceVideo


def count_windows(
    videos: Sequence[SourceVideo],
    split_of: Mapping[str, str],
    shares: Mapping[str, float],
    wanted: int,
    seconds: float,
) -> dict[str, int]:
    """Into how many parts each video of a keyword is cut, each giving one clip, so that there are enough clips.

    Every video gives one clip. Further ones are taken one by one: from the split that is furthest below its share, and
    there from the video with fewest clips, the earliest of several. Clips of a video do not overlap.

    Args:
        videos: Videos of one keyword, in order of preference.
        split_of: Split of each video by name.
        shares: Share of each split.
        wanted: Number of clips.
        seconds: Length of a clip.

    Returns:
        Number of parts by the name of the video; fewer clips than wanted where videos have no more room.
    """
    windows = dict.fromkeys((video.name for video in videos), 1)
    rooms = {video.name: room_of(video, seconds) for video in videos}
    of_split = Counter(split_of[video.name] for video in videos)
    while sum(windows.values()) < wanted:
        free = [name for name in windows if windows[name] < rooms[name]]
        if not free:
            break
        name = min(free, key=lambda name: (of_split[split_of[name]] / shares[split_of[name]], windows[name]))
        windows[name] += 1
        of_split[split_of[name]] += 1
    return windows


def room_of(video: SourceVideo, seconds: float) -> int:
    """How many clips of a length a video can give without overlap; 1 where its own length is not known."""
    if video.seconds is None:
        return 1
    return max(1, math.floor(video.seconds / seconds + 1e-6))
