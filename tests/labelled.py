# SPDX-License-Identifier: Apache-2.0
"""Small folders of clips for tests of labelling: a bright square that moves over noise, with a tone."""

import numpy as np

from avkit.annotation.folder import Folder
from avkit.annotation.rows import Change
from avkit.annotation.values import Key, mask_value
from avkit.media.decode import write_video
from avkit.media.write import write_wave

FPS = 5
SIDE = 16


def square(second, height=48, width=64):
    """Pixels (H, W) of the square at a time."""
    mask = np.zeros((height, width), bool)
    left = 8 + int(4 * second)
    mask[16 : 16 + SIDE, left : left + SIDE] = True
    return mask


def write_square(path, seconds=3, height=48, width=64, seed=0):
    """A clip of the square, orange on grey noise, with a tone."""
    noise = np.random.default_rng(seed).integers(90, 130, (height, width, 3)).astype(np.uint8)
    frames = []
    for k in range(round(seconds * FPS)):
        frame = noise.copy()
        frame[square((k + 0.5) / FPS, height, width)] = (230, 120, 20)
        frames.append(frame)
    time = np.arange(round(seconds * 16_000)) / 16_000
    sound = path.with_suffix(".wav")
    write_wave(sound, (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))
    write_video(path, frames, FPS, sound)
    sound.unlink()
    return path


def write_folder(root, names=("one.mp4", "two.mp4", "three.mp4"), seconds=3):
    """A folder of clips."""
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_square(path, seconds, seed=number)
    return root


def put(folder, clip, kind, number, step, value, author="ann"):
    """Write an item whatever there is."""
    return folder.store.edit(clip.number, author, [Change(Key(kind, number, step), value, None)], folder.shape(clip))


def label(folder, clip, name="dog", spans=((0.0, 2.0),), match="yes", text="a dog barks"):
    """Label a clip of the square whole: one object that sounds in the spans."""
    shape = folder.shape(clip)
    changes = [
        Change(Key("clip", 0, 0), {"match": match, "note": ""}, None),
        Change(Key("object", 1, 0), {"name": name, "colour": "#e6843c"}, None),
        Change(Key("spans", 1, 0), {"spans": [list(span) for span in spans]}, None),
        Change(Key("sentence", 1, 0), {"text": text}, None),
    ]
    for step in range(shape.steps):
        mask = square((step + 0.5) * folder.hop, *shape.size)
        changes.append(Change(Key("mask", 1, step), mask_value(mask), None))
    folder.store.edit(clip.number, "ann", changes, shape)


def opened(root, **options):
    """The folder, open for labelling."""
    return Folder(root, **options)
