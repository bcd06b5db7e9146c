# SPDX-License-Identifier: Apache-2.0
"""A training on Ray Train: Ray starts the processes, Lightning and avkit's parts do what they do elsewhere.

The digest of the weights that it prints is that of `avkit fit` with as many processes and the same words (`WORDS`).
Usage: python benchmarks/ray_train.py [--workers 2] [--gpu] [--steps 4] [--out FOLDER]
"""

import argparse
import hashlib
import os
import tempfile
from pathlib import Path

WORDS = [
    *("--tasks", "avs,avqa", "--data.batch_size.trimmed", "4", "--data.batch_size.whole", "4"),
    *("--data.scenes.val_size", "4", "--data.scenes.train_size", "24", "--data.image_size", "32"),
    *("--data.loader.workers", "0", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"),
    *("--model.system.dropout", "0", "--report", "false"),
]


def train(config):
    """Train in one of Ray's processes."""
    import lightning as L
    import ray.train
    import torch
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer

    from avkit.cli.trainer import make_cli

    torch.set_num_threads(1)
    cli = make_cli([*WORDS, "--data.steps_per_epoch", str(config["steps"])], training=True)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="gpu" if config["gpu"] else "cpu",
        devices="auto",
        strategy=RayDDPStrategy(find_unused_parameters=True),
        plugins=[RayLightningEnvironment()],
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer = prepare_trainer(trainer)
    trainer.fit(cli.model, cli.datamodule)
    score = float(trainer.callback_metrics["val/score"])
    print(f"rank {trainer.global_rank}: {trainer.global_step} steps, score {score:.4f}, weights {digest(cli.model)}")
    ray.train.report({"score": score, "steps": trainer.global_step})


def digest(model):
    """A digest of the weights."""
    sha = hashlib.sha256()
    for name, x in sorted(model.state_dict().items()):
        sha.update(name.encode() + x.cpu().numpy().tobytes())
    return sha.hexdigest()[:16]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--gpu", action="store_true")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "ray-train")
    o = p.parse_args()
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    root = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    ray.init(num_cpus=None if o.gpu else o.workers + 1, include_dashboard=False)
    trainer = TorchTrainer(
        train,
        train_loop_config={"steps": o.steps, "gpu": o.gpu},
        scaling_config=ScalingConfig(num_workers=o.workers, use_gpu=o.gpu),
        run_config=RunConfig(storage_path=str(o.out.resolve()), name="avkit"),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
