# SPDX-License-Identifier: Apache-2.0
"""One answer per question, from all steps of the clip: the default head of `avqa`."""

from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.heads.base import Head, HeadInputs, NoOptions
from avkit.heads.question import QuestionReader
from avkit.nn.answers import answer_index, answer_loss, answer_values


class AnswerHead(QuestionReader, Head):
    """Reads the question in the light of the clip, and scores each answer.

    Loss: cross-entropy over answers (MUSIC-AVQA). A true answer outside the vocabulary does not count.

    Args:
        inputs: Width of the tokens and answers.
        options: None.

    Raises:
        ValueError: If the dataset has no answers.
    """

    needs_pixels = False
    trains_unimodal = False

    def __init__(self, inputs: HeadInputs, options: NoOptions = NoOptions()) -> None:  # noqa: B008, it is frozen
        width = inputs.width
        super().__init__(width)
        self.answers = list(inputs.vocabulary.answers)
        self.index = answer_index(self.answers)
        self.out = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, len(self.answers)))

    def forward(self, tokens: Tokens, batch: Batch) -> Tensor:
        """Logits of the answers, (B, K).

        Raises:
            ValueError: If the tokens carry no question.
        """
        logits: Tensor = self.out(self.read(tokens).summary)
        return logits

    def loss(self, output: Tensor, batch: Batch) -> Losses:
        """Cross-entropy; 0 where no true answer is in the vocabulary."""
        return {"loss": answer_loss(output, batch, self.index)}

    def predict(self, output: Tensor, batch: Batch) -> Prediction:
        """`answer` and `answer_logits`, see `avkit.nn.answers.answer_values`."""
        return Prediction(batch.task, batch.id, answer_values(output, batch, self.answers, self.index))

    def graph_values(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`answer_logits`."""
        return {"answer_logits": output.float()}
