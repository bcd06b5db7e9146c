# SPDX-License-Identifier: Apache-2.0
"""Write the weights of small encoders that come with avkit, from a run that was trained on its scenes.

avkit fit --tasks all --name encoders --seed_everything 11 --data.steps_per_epoch 1000 --trainer.max_epochs 5
python scripts/write_scene_weights.py runs/encoders
python scripts/whiten_scene_sound.py
"""

import argparse
import json
import re
from pathlib import Path

from avkit.encoders.small import SmallText
from avkit.encoders.small_weights import scene_weights
from avkit.files import atomic
from avkit.inference.run_model import load_model
from avkit.reading.tensors import write_tensors
from avkit.systems.av_unified.system import AVUnified
from avkit.text.tokenizer import UNKNOWN
from avkit.training.run_folder import RunFolder


def main() -> None:
    """Write a file per encoder, and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    model, _ = load_model(RunFolder(args.run))
    system = model.system
    if not isinstance(system, AVUnified):
        parser.error(f"{args.run} is no run of av_unified.")
    provenance = json.loads((args.run / "report.json").read_text(encoding="utf-8"))["facts"]["provenance"]
    recipe = {name: str(provenance[name]) for name in ("seed", "checkpoint", "versions")}
    recipe["command"] = re.sub(r" --out \S+", "", str(provenance["command"]))
    for kind in ("visual", "audio", "text"):
        encoder = system.get_submodule(kind)
        facts = {"encoder": f"small {kind}", **recipe}
        if isinstance(encoder, SmallText):
            facts["words"] = json.dumps(encoder.tokenizer.words[UNKNOWN + 1 :])
        path = scene_weights(kind)
        path.parent.mkdir(exist_ok=True)
        with atomic(path) as temporary:
            write_tensors(temporary, encoder.state_dict(), facts)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
