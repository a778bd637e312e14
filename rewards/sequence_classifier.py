"""A sequence-classification model of transformers as a reward: a reward model with one output, or a classifier."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from textgym.joining import join_text

from .arguments import check_flag, check_integer
from .function import RewardFunction
from .longest_text import longest_text
from .places import check_model
from .registry import register_reward

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

ReadTexts = Literal["joined", "pair", "completion"]


@register_reward("sequence_classifier")
class SequenceClassifier(RewardFunction):
    """What a model of transformers says of the text: the output of a reward model, or a label's probability.

    A model with one output gives that output, whatever its range. One with several gives the probability of `label`, 0
    to 1, as transformers' pipeline does: by softmax over all labels, or, where the model's `problem_type` is
    "multi_label_classification" and several labels can hold at once, by the sigmoid of the label's own output. Where it
    is "regression" there is no probability; the score is the label's output.

    Texts that are too long for the model lose their beginning. A text without tokens, as an empty one is to tokenizers
    that add none, is read as one token: the end of a sequence, else the beginning of one, else padding. Texts of like
    length are scored together.

    Args:
        model: Folder as `save_pretrained` writes it, with tokenizer, or name on the Hugging Face hub.
        label: Name or number of the label whose probability is the score; None for the second of two. Not for a model
            with one output.
        reads: "joined" reads the prompt with the completion behind it, with a space between where words would run
            together; "pair" gives them to the tokenizer as two texts, "completion" reads the completion alone.
        batch_size: Texts at a time, at least 1; changes speed and memory alone.
        device: "auto" takes CUDA where it is; or as torch names it.
        allow_pickle: Load weights also where they only come as a pickle, which can run any code.
        name: Name of the term; None for "sequence_classifier".

    Raises:
        ValueError: If nothing can be loaded by that name, the folder lacks the tokenizer, the weights are a pickle that
            is not allowed, or the label does not fit the model.
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
        allow_pickle: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if reads not in get_args(ReadTexts):
            raise ValueError(f'reads must be "joined", "pair" or "completion", got {reads!r}.')
        check_model(model)
        check_integer("batch_size", batch_size, least=1)
        check_flag("allow_pickle", allow_pickle)
        self.model = str(model)
        self.label = label
        self.reads = reads
        self.batch_size = batch_size
        self.device = device
        self.allow_pickle = allow_pickle
        self._label_index = self._find_label()
        self._problem_type = self._loaded[0].config.problem_type

    @property
    def score_range(self) -> tuple[float, float] | None:
        """0 to 1 for a label's probability; not known for a reward model's output, nor for regression."""
        return None if self._label_index is None or self._problem_type == "regression" else (0.0, 1.0)

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
        logits = self._logits(texts)
        if self._label_index is None:
            values = logits[:, 0]
        elif self._problem_type == "multi_label_classification":
            values = logits[:, self._label_index].sigmoid()
        elif self._problem_type == "regression":
            values = logits[:, self._label_index]
        else:
            values = logits.softmax(-1)[:, self._label_index]
        scores: list[float] = values.tolist()
        return scores

    def _logits(self, texts: Sequence[tuple[str, str]]) -> "Tensor":
        """Return the model's outputs for N texts, shape (N, labels), on the CPU."""
        import torch

        model, tokenizer = self._loaded
        token_ids = self._encode(texts)
        empty = [index for index, ids in enumerate(token_ids["input_ids"]) if not ids]
        others = [index for index, ids in enumerate(token_ids["input_ids"]) if ids]
        # Texts without tokens go apart: a model that reads at the last token that is not padding would not find the one
        # that they are given behind padding, where both are the same token.
        batches = [
            (others, {key: [values[index] for index in others] for key, values in token_ids.items()}),
            (empty, {"input_ids": [[self._stand_in_token()]] * len(empty)} if empty else {}),
        ]
        rows: dict[int, Tensor] = {}
        for indices, inputs in batches:
            if indices:
                padded = tokenizer.pad(inputs, return_tensors="pt").to(model.device)
                rows.update(zip(indices, model(**padded).logits.float().cpu(), strict=True))
        return torch.stack([rows[index] for index in range(len(texts))])

    def _encode(self, texts: Sequence[tuple[str, str]]) -> "BatchEncoding":
        """Return lists of token ids, and of what else the model takes with them, without padding."""
        model, tokenizer = self._loaded
        if self.reads == "pair":
            parts: tuple[list[str], ...] = ([prompt for prompt, _ in texts], [completion for _, completion in texts])
        elif self.reads == "joined":
            parts = ([join_text(prompt, completion) for prompt, completion in texts],)
        else:
            parts = ([completion for _, completion in texts],)
        length = longest_text(tokenizer, model.base_model, 1 << 30)
        encoded: BatchEncoding = tokenizer(*parts, truncation=True, max_length=length)
        return encoded

    def _stand_in_token(self) -> int:
        """Return the token that a text without tokens is read as."""
        tokenizer = self._loaded[1]
        for token_id in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
            if token_id is not None:
                return int(token_id)
        raise ValueError(
            f"The tokenizer of {self.model} has no token for an empty text, expected eos_token, bos_token or "
            "pad_token; set one of them and save the tokenizer anew."
        )

    @cached_property
    def _loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The model in evaluation mode and its tokenizer; loaded anew in another process."""
        from textgym.models import load_sequence_classifier

        return load_sequence_classifier(self.model, self.device, allow_pickle=self.allow_pickle)

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
