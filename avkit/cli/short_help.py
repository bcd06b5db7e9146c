# SPDX-License-Identifier: Apache-2.0
"""The help of commands whose options are Lightning's: what matters, on one screen and without loading torch."""

import textwrap
from collections.abc import Sequence

#: Options of `avkit fit` that most people need, with a line each.
FIT_OPTIONS: dict[str, str] = {
    "--tasks NAMES": "ra_ssu,ave,avvp,ssl,avs,avqa,davel, or all",
    "--config NAME": "a recipe such as tspm_music_avqa, or a file",
    "--data.root DIR": "official datasets; the built-in scenes without",
    "--data.dataset NAMES": "such as avs=avsbench-ms3, see `avkit info`",
    "--data.manifest FILE": "your own clips, see docs/manifest.md",
    "--name NAME": "the run's folder below --out",
    "--ckpt_path last": "go on with a run that was stopped",
    "--dry_run": "check all, tell parameters, memory and time, train nothing",
    "--seeds N": "several seeds, with mean and deviation",
    "--trainer.max_epochs N": "2 by default",
    "--data.steps_per_epoch N": "training steps between two validations",
    "--trainer.devices N": "GPUs, or processes on a CPU; 1 by default",
    "--trainer.precision P": "32-true, bf16-mixed or 16-mixed",
    "--optimizer AdamW": "any of torch.optim, then --optimizer.lr RATE",
    "--data.batch_size.trimmed N": "clips per step; also .untrimmed, .whole",
    "--model.system.name NAME": "av_unified (default), tspm, ssuformer, ...",
    "--model.heads.TASK NAME": "such as --model.heads.davel ccnet",
    "--model.system.visual NAME": "encoder; its weights by .visual_weights hub",
}
_FIT_EXAMPLES = (
    "avkit fit --tasks ra_ssu,avs,avqa",
    "avkit fit --tasks avs --data.manifest mine.jsonl --trainer.max_epochs 20",
    "avkit fit --config tspm_music_avqa --data.root /data --trainer.devices 2",
)
SWITCHES = {
    "--trust": "import parts of others that a run names",
    "--commercial_safe": "only what may be used commercially",
    "--offline": "download nothing",
    "--debug": "show where an error comes from",
}
_TEXTS = {
    "fit": "Train tasks together or alone, test the best checkpoint, write a report.",
    "test": "Official metrics of a run on the test split, for its best checkpoint, and its report again.",
    "validate": "The scores by which training chose a run's best checkpoint.",
}
_RUN_OPTIONS: dict[str, dict[str, str]] = {
    "test": {
        "zero_shot": "in place of RUN, with --dataset NAME --data.root DIR: public models without a training",
        "--beside RUN": "another run of the same task, such as a baseline, whose events examples show too",
    },
    "validate": {},
}
_WIDTH = 80


def wants_help(command: str, args: Sequence[str]) -> bool:
    """Whether the words of a command ask for a help that is told here."""
    return command in _TEXTS and bool({"-h", "--help"} & set(args))


def help_text(command: str) -> str:
    """The help of `fit`, `test` or `validate`."""
    if command == "fit":
        examples = [f"  {example}" for example in _FIT_EXAMPLES]
        lines = ["usage: avkit fit [--OPTION VALUE ...]", "", _TEXTS["fit"], "", *examples, "", "options that matter:"]
        lines += _table(FIT_OPTIONS | SWITCHES)
        lines += [
            "",
            *_wrapped("`avkit fit --help-all` lists all options; with --model.system.name NAME those of a system."),
        ]
        return "\n".join(lines)
    usage = f"usage: avkit {command} RUN [--OPTION VALUE ...]"
    lines = [usage, "", *_wrapped(_TEXTS[command]), "", *_table({"RUN": "folder of a run, such as runs/NAME"})]
    lines += _table(_RUN_OPTIONS[command] | SWITCHES)
    advice = (
        "Options of `avkit fit` replace those of the run's config, such as --data.manifest own.jsonl or "
        "--trainer.accelerator gpu; `avkit fit --help` shows them."
    )
    return "\n".join([*lines, "", *_wrapped(advice)])


def _table(options: dict[str, str]) -> list[str]:
    """A line per option; text that is too long goes on below itself."""
    indent = " " * 31
    lines = []
    for name, text in options.items():
        lines += textwrap.wrap(f"  {name:28} {text}", _WIDTH - 1, subsequent_indent=indent, break_long_words=False)
    return lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH - 1, break_long_words=False)
