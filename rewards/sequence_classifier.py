"""A sequence-classification model of transformers as a reward: a reward model with one output, or a classifier."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from textgym.joining import join_text

from .arguments import check_integer
from .function import RewardFunction
from .longest_text import longest_text
from .places import check_model
from .registry import register_reward

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ReadTexts = Literal["joined", "pair", "completion"]


@register_reward("sequence_classifier")
class SequenceClassifier(RewardFunction):
    """What a model of transformers says of the text: the output of a reward model, or a label's probability.

    A model with one output gives that output, whatever its range. One with several gives the probability of `label`, 0
    to 1. Texts that are too long for the model lose their beginning. Texts of like length are scored together.

    Args:
        model: Folder as `save_pretrained` writes it, with tokenizer, or name on the Hugging Face hub.
        label: Name or number of the label whose probability is the score; None for the second of two. Not for a model
            with one output.
        reads: "joined" reads the prompt with the completion behind it, with a space between where words would run
            together; "pair" gives them to the tokenizer as two texts, "completion" reads the completion alone.
        batch_size: Texts at a time, at least 1; changes speed and memory alone.
        device: "auto" takes CUDA where it is; or as torch names it.
        name: Name of the term; None for "sequence_classifier".

    Raises:
        ValueError: If nothing can be loaded by that name, or the label does not fit the model.
        TypeError: If an argument is of the wrong type.
    """

    def __init__(
        self,
        model: str,
        label: str | int | None = None,
        reads: ReadTexts = "joined",
        batch_size: int = 32,
        device: str = "auto",
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if reads not in get_args(ReadTexts):
            raise ValueError(f'reads must be "joined", "pair" or "completion", got {reads!r}.')
        check_model(model)
        check_integer("batch_size", batch_size, least=1)
        self.model = str(model)
        self.label = label
        self.reads = reads
        self.batch_size = batch_size
        self.device = device
        self._label_index = self._find_label()

    @property
    def score_range(self) -> tuple[float, float] | None:
        """0 to 1 for a label's probability; not known for a reward model's output."""
        return None if self._label_index is None else (0.0, 1.0)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's score."""
        import torch

        texts = list(zip(prompts, completions, strict=True))
        order = sorted(range(len(texts)), key=lambda index: sum(map(len, texts[index])))
        scores = [0.0] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                indices = order[start : start + self.batch_size]
                for index, score in zip(indices, self._score([texts[index] for index in indices]), strict=True):
                    scores[index] = score
        return scores

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}

    def _score(self, texts: Sequence[tuple[str, str]]) -> list[float]:
        model, tokenizer = self._loaded
        if self.reads == "pair":
            parts: tuple[list[str], ...] = ([prompt for prompt, _ in texts], [completion for _, completion in texts])
        elif self.reads == "joined":
            parts = ([join_text(prompt, completion) for prompt, completion in texts],)
        else:
            parts = ([completion for _, completion in texts],)
        length = longest_text(tokenizer, model.base_model, 1 << 30)
        inputs = tokenizer(*parts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        logits = model(**inputs.to(model.device)).logits.float()  # (N, labels)
        values = logits[:, 0] if self._label_index is None else logits.softmax(-1)[:, self._label_index]
        scores: list[float] = values.tolist()
        return scores

    @cached_property
    def _loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The model in evaluation mode and its tokenizer; loaded anew in another process."""
        from textgym.models import load_sequence_classifier

        return load_sequence_classifier(self.model, self.device)

    def _find_label(self) -> int | None:
        names = {int(index): name for index, name in (self._loaded[0].config.id2label or {}).items()}
        if len(names) == 1:
            if self.label is not None:
                raise ValueError(f"The model {self.model} has one output and no labels; leave out label.")
            return None
        label = 1 if self.label is None and len(names) == 2 else self.label
        found = [index for index, name in names.items() if label in (index, name)]
        if len(found) != 1:
            listed = ", ".join(f"{index} ({name})" for index, name in names.items())
            raise ValueError(
                f"label must be one of the labels of {self.model}, which are {listed}; got {self.label!r}."
            )
        return found[0]
