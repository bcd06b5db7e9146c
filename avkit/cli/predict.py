# SPDX-License-Identifier: Apache-2.0
"""`avkit predict RUN CLIP ...`: masks, captions and answers to questions for your videos."""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.clips import add_shard_option, find_clips, one_clip
from avkit.cli.on_ray import add_ray_options, cluster_of, work_on_ray
from avkit.cli.trust import add_switches
from avkit.errors import AvkitError
from avkit.files import WriteError, remove_leftovers

if TYPE_CHECKING:
    from avkit.inference.predictor import Predictor
    from avkit.inference.result_folders import Request


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="avkit predict", description="Masks, captions and answers for videos.")
    p.add_argument(
        "run",
        help="folder of a run, owner/name on the hub, a file that avkit convert wrote, or zero_shot: public models and "
        "rules, without training",
    )
    p.add_argument(
        "clips",
        nargs="+",
        type=Path,
        help="videos, folders with some at any depth, patterns in quotes, or a still picture with --audio",
    )
    p.add_argument("--tasks", help="task names, separated by commas; all of the run by default")
    p.add_argument("--question", action="append", help="a question, for tasks such as avqa; may be given several times")
    p.add_argument(
        "--out",
        type=Path,
        default=Path("predictions"),
        help="folder; each result gets one of its own inside, named after its clip",
    )
    p.add_argument(
        "--hop",
        type=float,
        help="seconds per step; by default as in training, and as stored features have it",
    )
    p.add_argument(
        "--features",
        metavar="RECIPE",
        help="recipes that make the stored features that the run reads, separated by commas; found by themselves where "
        "the run or the system names them",
    )
    p.add_argument(
        "--expert",
        metavar="RECIPE",
        help="recipe that makes the features of the vision-language model that an SSUFormer was trained with, such as "
        "llava; without it captions are written without them",
    )
    p.add_argument(
        "--weights",
        metavar="STREAM=PATH",
        help="weights of the recipes' encoders, as in avkit extract, and text=PATH of a converted checkpoint's "
        "questions; 'none' for random ones; of zero_shot: sound=PATH,boxes=PATH and so on",
    )
    p.add_argument(
        "--names",
        metavar="FILE",
        help="of a converted checkpoint: names of its classes or answers, one per line, or the folder of its dataset; "
        "of zero_shot: what may be named, a dataset such as ave, or a file with a name per line",
    )
    p.add_argument(
        "--parts",
        metavar="STAGE=MODEL",
        help="of zero_shot: models of its stages and thresholds, such as sound=ast,boxes=owlv2,masks=none,heard=0.2",
    )
    p.add_argument(
        "--accept_licence", default="", metavar="NAME", help="of zero_shot: a licence that you accept, as it is named"
    )
    p.add_argument("--audio", type=Path, help="sound file to use instead of the video's own track")
    p.add_argument("--silent_ok", action="store_true", help="use silence where a video has no sound")
    p.add_argument("--no_video", action="store_true", help="leave out the overlay video")
    p.add_argument(
        "--stream",
        action="store_true",
        help="for long videos: ten steps at a time, written as they come to OUT/CLIP/stream.jsonl and masks",
    )
    p.add_argument(
        "--caption_change_threshold",
        type=float,
        metavar="X",
        help="repeat a caption while its source changes by no more than X, such as 0.03; SSUFormer alone",
    )
    p.add_argument(
        "--beside",
        metavar="RUN",
        help="another run of the same task, such as a baseline, whose answers are shown on the same time line",
    )
    p.add_argument(
        "--any_answer",
        action="store_true",
        help="let an answer be of another kind than its question asks for, such as a place for yes or no",
    )
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    add_shard_option(p)
    add_ray_options(p)
    add_switches(p)
    return p


def run(args: list[str]) -> int:
    """Predict; one broken clip among several is reported and the others are done."""
    options = parser().parse_args(args)
    from avkit.cli.lightning_setup import no_gpu, quiet

    quiet()
    cluster = cluster_of(options)
    device = (options.device or "").partition(":")[0]
    if cluster is None and device and (reason := no_gpu(device, f"--device {options.device}")):
        raise ValueError(reason)
    if options.hop is not None and not options.hop > 0:
        raise ValueError(f"--hop is {options.hop:g}; give a number of seconds above 0.")
    if options.beside and options.stream:
        raise ValueError(
            "--beside shows another run on the time line of a whole video. Leave out --stream or --beside."
        )
    work = None if cluster else PredictWork(options)
    clips, errors = find_clips(options.clips, options.out, options.shard)
    count = len(clips) + len(errors)
    if count == 1 and errors:
        raise errors[0]
    if not count:
        print(f"no clip belongs to shard {options.shard.number}/{options.shard.count}")
        return 0
    if work is not None and clips and not options.stream:
        work.load_encoders()
    problems = [str(error) for error in errors]
    for error in errors:
        print(f"avkit predict: {error}", file=sys.stderr)
    if work is not None:
        problems += _predict_all(work, clips, alone=count == 1)
    elif cluster is not None:
        problems += work_on_ray("avkit.cli.predict", options, clips, cluster).values()
    if count > 1:
        print(f"{count - len(problems)} of {count} clips predicted, under {options.out}")
        if not options.stream:
            from avkit.report import write_gallery

            print(f"all videos: {write_gallery(options.out, problems)}")
    if problems:
        print(f"avkit predict: {len(problems)} of {count} clips could not be read.", file=sys.stderr)
    return 1 if problems else 0


def _predict_all(work: "PredictWork", clips: Sequence[Path], *, alone: bool) -> list[str]:
    """Predict one clip after the other; returns why some could not be read.

    Raises:
        AvkitError: If the only clip cannot be read, or results cannot be written.
    """
    problems = []
    for clip in clips:
        try:
            with one_clip(clip):
                work(clip)
        except WriteError:
            raise  # the next result could not be written either
        except AvkitError as error:
            if alone:
                raise
            print(f"avkit predict: {error}", file=sys.stderr)
            problems.append(str(error))
    return problems


class PredictWork:
    """A run that answers one clip after the other, as the options say.

    Args:
        options: Of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from avkit.inference.beside import load_beside
        from avkit.inference.loading import load

        self.options = options
        self.predictor = load(
            options.run,
            options.device,
            trust=options.trust,
            features=options.features,
            expert=options.expert,
            weights=options.weights,
            names=options.names,
            parts=options.parts,
            offline=options.offline,
            accept_licence=options.accept_licence,
        )
        self.predictor.any_answer = options.any_answer
        self.other: Predictor | None = None
        if options.beside:
            given = {"features": options.features, "weights": options.weights, "names": options.names}
            self.other = load_beside(options.beside, self.predictor, trust=options.trust, **given)
        if options.caption_change_threshold is not None:
            self.predictor.set_caption_change_threshold(options.caption_change_threshold)

    def load_encoders(self) -> None:
        """Load the encoders of stored features now and not with the first clip."""
        self.predictor.load_encoders(self.options.tasks, self.options.question or [], self.options.hop)

    def __call__(self, clip: Path) -> None:
        """Predict a clip, write the answers and print them."""
        if self.options.stream:
            _stream(self.predictor, clip, self.options)
        else:
            _predict(self.predictor, self.other, clip, self.options)


def make_work(options: argparse.Namespace) -> PredictWork:
    """What a worker of a Ray cluster does with clips."""
    return PredictWork(options)


def _request(predictor: "Predictor", clip: Path, tasks: Sequence[str], options: argparse.Namespace) -> "Request":
    """What the result of a clip answers about some tasks."""
    from avkit.inference.result_folders import Request

    dependent = {
        "tasks": options.tasks,
        "question": options.question,
        "hop": predictor.hops.of(tasks, options.hop),
        "features": options.features,
        "weights": options.weights,
        "names": options.names,
        "audio": str(options.audio.resolve()) if options.audio else None,
        "silent_ok": options.silent_ok,
        "any_answer": options.any_answer,
        "stream": options.stream,
        "caption_change_threshold": options.caption_change_threshold,
    }
    if options.parts:
        dependent["parts"] = options.parts
    if options.expert:  # absent otherwise, so that folders of results without it are found again
        dependent["expert"] = options.expert
    if options.beside:
        dependent["beside"] = options.beside
    return Request.of(clip, predictor.provenance, dependent)


def _predict(predictor: "Predictor", other: "Predictor | None", clip: Path, options: argparse.Namespace) -> None:
    """Predict a video, write the answers and print them."""
    from avkit.inference.beside import add_beside
    from avkit.inference.result_folders import claim_folder
    from avkit.report import terminal_lines

    result = predictor.predict(clip, options.tasks, options.question, options.hop, options.audio, options.silent_ok)
    if other is not None:
        add_beside(result, other, options.question, options.hop, options.audio, options.silent_ok)
    folder = claim_folder(options.out, _request(predictor, clip, result.tasks, options))
    remove_leftovers(folder)
    paths = result.save(folder, video=not options.no_video)
    print(f"{clip}:")
    for line in terminal_lines(result):
        print(f"  {line}")
    print(f"  report: {paths['report']}")


def _stream(predictor: "Predictor", clip: Path, options: argparse.Namespace) -> None:
    """Predict a video window by window; a caption is printed when it differs from the one before."""
    from avkit.answers import Caption
    from avkit.inference.result_folders import claim_folder
    from avkit.report import StreamWriter

    if options.question:
        raise ValueError("A question is about a whole video and cannot be streamed. Leave out --stream or --question.")
    windows = predictor.stream(clip, options.tasks, options.hop, options.audio, options.silent_ok)
    first = next(windows)  # a clip that cannot be read gets no folder
    folder = claim_folder(options.out, _request(predictor, clip, first[1].tasks, options))
    remove_leftovers(folder)
    print(f"{clip}:")
    if first[1].warning:
        print(f"  warning: {first[1].warning}")
    last = ""
    with StreamWriter(folder) as writer:
        for start, result in chain([first], windows):
            writer.write(start, result)
            for caption in result.of(Caption):
                for begin, _, text in caption.spans():
                    if text != last:
                        print(f"  {start + begin:7.1f} s  {text}", flush=True)
                    last = text
    print(f"  {writer.steps} steps: {writer.path}")
