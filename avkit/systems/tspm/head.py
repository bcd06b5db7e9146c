# SPDX-License-Identifier: Apache-2.0
"""TSPM as a head of the shared backbone: selected steps, sound-guided patches and question grounding for `avqa`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.errors import DataError
from avkit.heads.base import Head, HeadInputs
from avkit.nn.answers import answer_index, answer_loss, answer_values, selection_values
from avkit.nn.padding import surely_all
from avkit.systems.tspm.network import TSPM, TSPMOutput
from avkit.systems.tspm.options import TSPMOptions, check_prompt
from avkit.systems.tspm.prompt_constructor import PromptConstructor


@dataclass
class TSPMHeadOptions(TSPMOptions):
    """Options of the head: those of TSPM's network, at sizes for training from scratch on a CPU.

    The published network attends to the patches of the first steps and never trains its selection; that is
    `patch_select: first` and `select_grad: none`. On features of a known recogniser the defaults here learn which steps
    matter far better (`benchmarks/selection.py`). Its answer is the product of question and clip, `fusion: product`,
    which learns the most frequent answer of each kind of question and then no more where encoders start from random
    weights.

    Attributes:
        width: Width D of the network; 0 for the width of the tokens.
        prompt: Text that selects steps: `declarative`, a sentence constructed from the question, or the `question`.
        prompts: Sentences of the question templates, a `.csv`, `.xlsx` or `.json` file such as the authors'
            spreadsheet; avkit's own where None.
    """

    width: int = 0
    inner: int = 192
    topk: int = 5
    patch_select: str = "index"
    select_grad: str = "straight_through"
    fusion: str = "concatenation"
    dropout: float = 0.0
    prompt: str = "declarative"
    prompts: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt(self.prompt)


class TSPMHead(Head):
    """Answers a question from the steps and the parts of their pictures that matter to it.

    The network is that of the paper, with tokens in place of features. Clips that have fewer steps than `topk` are
    used whole.

    Args:
        inputs: What it is built for.
        options: Options of the head.

    Source:
        "Boosting Audio Visual Question Answering via Key Semantic-Aware Cues" (ACM MM 2024), see
        `avkit.systems.tspm.network.TSPM`.
    """

    Options = TSPMHeadOptions
    needs_pixels = False

    def __init__(self, inputs: HeadInputs, options: TSPMHeadOptions) -> None:
        super().__init__()
        self.answers = inputs.vocabulary.answers
        self.index = answer_index(self.answers)
        self.constructs_prompts = options.prompt == "declarative"
        self.construct_prompt = PromptConstructor.load(options.prompts)
        if self.construct_prompt.by_id:
            raise DataError(
                f"{options.prompts} has sentences by question ids, which heads do not see. Give one sentence per "
                "question template, or use --model.system.name tspm."
            )
        width = inputs.width
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "frame", "patches", "text")})
        self.network = TSPM(
            replace(options, width=options.width or width),
            audio=width,
            visual=width,
            patches=width,
            text=width,
            answers=len(self.answers),
        )
        self._freeze_unused(options)

    def _freeze_unused(self, options: TSPMHeadOptions) -> None:
        """Freeze the parameters that no loss reaches with these options."""
        unused = self.network.untrained()
        if not self.constructs_prompts:
            unused.append("prompt_in.")
        for name, parameter in self.network.named_parameters():
            if name.startswith(tuple(unused)):
                parameter.requires_grad_(False)
        if not options.spatial:
            self.norms["patches"].requires_grad_(False)

    def forward(self, tokens: Tokens, batch: Batch) -> TSPMOutput:
        """Answer the questions of a batch.

        Raises:
            ValueError: If the tokens hold no question, or no declarative sentence where one selects steps.
        """
        if tokens.prompt is None:
            raise ValueError("The TSPM head needs a question: tokens.prompt is None.")
        if self.constructs_prompts and tokens.second_prompt is None:
            raise ValueError("The TSPM head needs the declarative sentences of `second_prompts` as second_prompt.")
        prompt = tokens.second_prompt if self.constructs_prompts else None
        output: TSPMOutput = self.network(
            self.norms["audio"](tokens.audio),
            self.norms["frame"](tokens.frame),
            self.norms["patches"](tokens.patches),
            self.norms["text"](tokens.prompt),
            None if prompt is None else self.norms["text"](prompt),
            valid=None if surely_all(tokens.valid) else tokens.valid,
            allow_fewer=True,
        )
        if tokens.grid[0] == 1 < tokens.grid[1]:  # averages of merged tokens, which stand at no place of a picture
            output.parts = None
        return output

    def loss(self, output: TSPMOutput, batch: Batch) -> Losses:
        """Cross-entropy over answers; 0 where no true answer is in the vocabulary."""
        return {"loss": answer_loss(output.logits, batch, self.index)}

    def predict(self, output: TSPMOutput, batch: Batch) -> Prediction:
        """`answer` and `answer_logits`, and what was selected, see `avkit.nn.answers.selection_values`."""
        values = answer_values(output.logits, batch, self.answers, self.index)
        return Prediction(batch.task, batch.id, values | selection_values(output))

    def graph_values(self, output: TSPMOutput, batch: Batch) -> dict[str, Tensor]:
        """`answer_logits`, and what the network selected."""
        return {"answer_logits": output.logits.float(), **selection_values(output)}

    def check_questions(self, questions: Mapping[str, str]) -> None:
        """Refuse questions that the file of sentences has none for."""
        if self.constructs_prompts:
            self.construct_prompt.check_covers(questions)

    def second_prompts(self, questions: Sequence[str]) -> list[str] | None:
        """A declarative sentence per question, or None where the question itself selects steps."""
        if not self.constructs_prompts:
            return None
        return [self.construct_prompt(question) for question in questions]
