# SPDX-License-Identifier: Apache-2.0
"""`avkit predict RUN CLIP ...`: masks, captions and answers for your videos."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.errors import AvkitError

if TYPE_CHECKING:
    from avkit.inference.predictor import Predictor


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="avkit predict", description="Masks, captions and answers for videos.")
    p.add_argument("run", help="folder of a run, or owner/name on the hub")
    p.add_argument("clips", nargs="+", type=Path, help="videos, or a still picture with --audio")
    p.add_argument("--tasks", help="task names, separated by commas; all of the run by default")
    p.add_argument("--question", action="append", help="a question for avqa; may be given several times")
    p.add_argument("--out", type=Path, default=Path("predictions"), help="folder; each clip gets one of its own inside")
    p.add_argument("--hop", type=float, default=1.0, help="seconds per step")
    p.add_argument("--audio", type=Path, help="sound file to use instead of the video's own track")
    p.add_argument("--silent_ok", action="store_true", help="use silence where a video has no sound")
    p.add_argument("--no_video", action="store_true", help="leave out the overlay video")
    p.add_argument(
        "--stream",
        action="store_true",
        help="for long videos: ten steps at a time, written as they come to OUT/CLIP/stream.jsonl and masks",
    )
    p.add_argument(
        "--steady",
        type=float,
        metavar="X",
        help="write a caption anew only where what it is about changed by more than X, say 0.03; SSUFormer alone",
    )
    p.add_argument("--device", help="such as cpu or cuda; the GPU if there is one")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Predict; one broken clip among several is reported and the others are done."""
    options = parser().parse_args(args)
    from avkit.cli.lightning_setup import no_gpu, quiet
    from avkit.inference.predictor import load

    quiet()
    if options.device and (reason := no_gpu(options.device.partition(":")[0], f"--device {options.device}")):
        raise ValueError(reason)
    predictor = load(options.run, options.device)
    if options.steady is not None:
        predictor.set_steady(options.steady)
    failed = 0
    for clip in options.clips:
        try:
            if options.stream:
                _stream(predictor, clip, options)
                continue
            result = predictor.predict(
                clip, options.tasks, options.question, options.hop, options.audio, options.silent_ok
            )
            paths = result.save(options.out / clip.stem, video=not options.no_video)
        except AvkitError as e:
            if len(options.clips) == 1:
                raise
            print(f"avkit predict: {e}", file=sys.stderr)
            failed += 1
            continue
        print(f"{clip}:")
        for start, end, text in result.captions_merged():
            print(f"  {start:5.1f} - {end:5.1f} s  {text}")
        for event in result.events:
            print(f"  {event.start:5.1f} - {event.end:5.1f} s  {event.modality}: {event.name}  ({event.task})")
        for answer in result.answers:
            print(f"  {answer.question}  ->  {answer.answer}")
        for note in result.notes:
            print(f"  note: {note}")
        print(f"  report: {paths['report']}")
    if failed:
        print(f"avkit predict: {failed} of {len(options.clips)} clips could not be read.", file=sys.stderr)
    return 1 if failed else 0


def _stream(predictor: "Predictor", clip: Path, options: argparse.Namespace) -> None:
    """Watch a video window by window; a caption is printed when it is another than before."""
    from avkit.report import StreamWriter

    if options.question:
        raise ValueError("A question is about a whole video and cannot be streamed. Leave out --stream or --question.")
    print(f"{clip}:")
    last = ""
    with StreamWriter(options.out / clip.stem) as writer:
        for start, result in predictor.stream(clip, options.tasks, options.hop, options.audio, options.silent_ok):
            writer.write(start, result)
            for begin, _, text in result.captions_merged():
                if text != last:
                    print(f"  {start + begin:7.1f} s  {text}", flush=True)
                last = text
    print(f"  {writer.steps} steps: {writer.path}")
