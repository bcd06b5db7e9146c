# SPDX-License-Identifier: Apache-2.0
"""Searching scenes with a trained SSUFormer: recall at k of texts, sounds and clips, beside chance.

An index is made of the run's own masks and captions of test scenes. Four kinds of queries are asked:

- sentence: the true caption of one of a scene's steps; its own scene is sought;
- thing: "a red drum thumps on the left", made of the truth; any scene is sought in which that happens;
- sound: the sound of another scene, with one class in it; any scene is sought in which the class sounds;
- clip: another scene, with sound; any scene is sought in which a thing of its class and colour is seen to sound.

A query hits at k if one of the first k videos is sought; chance is that of k drawn at random.
"""

import argparse
from math import comb
from pathlib import Path

import numpy as np
import torch

import avkit
from avkit.datasets.scenes import Scenes
from avkit.inference.embedding import index_result
from avkit.inference.index import IndexedVideo
from avkit.inference.predictor import Predictor
from avkit.inference.search import Index, search
from avkit.media.decode import DecodedClip
from avkit.scenes import CLASSES, COLOURS, Scene, track
from avkit.scenes.captioning import PLACES, sounding_verb

AT = (1, 5, 10)


def index_scene(predictor: Predictor, scenes: Scenes, index: int) -> IndexedVideo:
    """What an index holds of a scene."""
    item = scenes.item(index, frozenset())
    side = item.frames.shape[-1]
    clip = DecodedClip(item.frames, item.waveform, item.duration, item.hop, (side, side), 1.0)
    return index_result(predictor, predictor.predict_clip(clip, ["ra_ssu"], item.id))


def happens(scene: Scene) -> list[tuple[int, int, str, str, int]]:
    """Class, colour, verb, place and step of all that is seen to sound."""
    state = track(scene)
    on = state.visible & state.sounding
    events = []
    for k, t in np.argwhere(on).tolist():
        x, y = (min(2, int(3 * v)) for v in state.centre[k, t])
        thing = scene.things[k]
        events.append((thing.kind, thing.colour, sounding_verb(thing), PLACES[y][x], t))
    return events


def chance(total: int, sought: int, k: int) -> float:
    """Of hitting one of `sought` with k of `total`."""
    drawn = min(k, total)
    return 1 - comb(total - sought, drawn) / comb(total, drawn)


def report(name: str, ranks: list[tuple[list[str], set[str]]], total: int) -> None:
    """Print recall at k over queries, each with its answers and what was sought."""
    asked = [(order, sought) for order, sought in ranks if sought]
    cells = []
    for k in AT:
        recall = np.mean([bool(set(order[:k]) & sought) for order, sought in asked])
        by_chance = np.mean([chance(total, len(sought), k) for _, sought in asked])
        cells.append(f"@{k} {recall:.3f} (chance {by_chance:.3f})")
    print(f"{name:9} {len(asked):4} queries   {'   '.join(cells)}", flush=True)


def main() -> None:
    """Index scenes and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of the world that the run was trained in")
    args = parser.parse_args()
    predictor = avkit.load(args.run, "cpu")
    test, val = (Scenes(split, args.clips, args.seed, predictor.image_size) for split in ("test", "val"))
    index = Index([index_scene(predictor, test, i) for i in range(args.clips)])
    names = [video.video for video in index.videos]
    truth = [happens(test.scene(i)[0]) for i in range(args.clips)]

    def order(text: str | None = None, like: tuple[dict[str, torch.Tensor], ...] = ()) -> list[str]:
        return [hit.video for hit in search(index, text, like, max(AT))]

    captions = [test.item(i, {"caption"}).targets["caption"] for i in range(args.clips)]
    report("sentence", [(order(c[i % len(c)]), {names[i]}) for i, c in enumerate(captions)], args.clips)
    ranks, moments = [], []
    for true in truth:
        if not true:
            continue
        kind, colour, does, place, _ = true[len(true) // 2]
        hits = search(index, f"a {COLOURS[colour]} {CLASSES[kind]} {does} {place}", count=max(AT))
        fits = [{(e[0], e[1], e[3]) for e in events} for events in truth]
        sought = {name for name, fit in zip(names, fits, strict=True) if (kind, colour, place) in fit}
        ranks.append(([hit.video for hit in hits], sought))
        if hits[0].video in sought:
            events = truth[names.index(hits[0].video)]
            steps = {t for k, c, _, p, t in events if (k, c, p) == (kind, colour, place)}
            moments.append(int(hits[0].moment) in steps)
    report("thing", ranks, args.clips)
    print(f"          of right first hits the best moment is in the true stretch: {np.mean(moments):.3f}")
    sounds, clips = [], []
    for i in range(args.clips):
        scene = val.scene(i)[0]
        state = track(scene)
        kinds = {scene.things[k].kind for k in np.argwhere(state.sounding)[:, 0].tolist()}
        query = index_scene(predictor, val, i).vectors
        if len(kinds) == 1:
            (kind,) = kinds
            sounding = [
                {t.kind for t, on in zip(s.things, track(s).sounding, strict=True) if on.any()}
                for s in (test.scene(j)[0] for j in range(args.clips))
            ]
            sought = {name for name, inside in zip(names, sounding, strict=True) if kind in inside}
            steps = torch.from_numpy(state.sounding.any(0))
            sounds.append((order(like=({"sound": query["sound"][steps]},)), sought))
        shown = happens(scene)
        if shown:
            pairs = {(e[0], e[1]) for e in shown}
            sought = {n for n, events in zip(names, truth, strict=True) if pairs & {(e[0], e[1]) for e in events}}
            steps = torch.tensor(sorted({e[4] for e in shown}))
            clips.append((order(like=({k: x[steps] for k, x in query.items()},)), sought))
    report("sound", sounds, args.clips)
    report("clip", clips, args.clips)


if __name__ == "__main__":
    main()
