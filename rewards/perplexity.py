"""A reward for text that a language model finds likely or, as perplexity is, unlikely."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .arguments import check_flag, check_integer, check_number
from .function import RewardFunction
from .places import check_model
from .registry import register_reward

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@register_reward("perplexity")
class Perplexity(RewardFunction):
    """Perplexity of a completion, behind its prompt, under a language model; from 1, where each token was certain.

    perplexity = exp(−Σ log p(token | what is before it) / tokens)

    The end of the sequence counts as a token, so that an empty completion has a perplexity as well. Subtract it for
    text that the model finds likely; note that a low one is easily had by repetition. What is too long for the model
    loses its beginning; each text is read by the model's own tokenizer.

    Args:
        model: "bundled", a folder, or a name on the Hugging Face hub, of a causal language model.
        maximum: A higher perplexity counts as this, above 1, so that one odd text does not outweigh all others.
        logarithm: Whether the score is log(perplexity), nats a token from 0 on, instead; `maximum` then bounds the
            perplexity all the same.
        batch_size: Texts at a time, at least 1; changes speed and memory alone.
        device: "auto" takes CUDA where it is; or as torch names it.
        name: Name of the term; None for "perplexity".

    Raises:
        ValueError: If nothing can be loaded by that name, or a number is out of range.
        TypeError: If an argument is of the wrong type.
    """

    def __init__(
        self,
        model: str = "bundled",
        maximum: float = 1000.0,
        logarithm: bool = False,
        batch_size: int = 32,
        device: str = "auto",
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_model(model)
        check_number("maximum", maximum, above=1)
        check_flag("logarithm", logarithm)
        check_integer("batch_size", batch_size, least=1)
        self.model = str(model)
        self.maximum = maximum
        self.logarithm = logarithm
        self.batch_size = batch_size
        self.device = device
        _ = self._loaded  # a wrong name is an error now, not in the middle of training

    @property
    def score_range(self) -> tuple[float, float]:
        """1 to the maximum, or their logarithms."""
        return (0.0, math.log(self.maximum)) if self.logarithm else (1.0, float(self.maximum))

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's perplexity."""
        if not completions:
            return []
        import torch

        _, tokenizer = self._loaded
        eos: int = tokenizer.eos_token_id
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else eos
        encoded_prompts = tokenizer(list(prompts), add_special_tokens=False, verbose=False)["input_ids"]
        encoded = tokenizer(list(completions), add_special_tokens=False, verbose=False)["input_ids"]
        texts = [([start, *before], [*ids, eos]) for before, ids in zip(encoded_prompts, encoded, strict=True)]
        order = sorted(range(len(texts)), key=lambda index: sum(map(len, texts[index])))
        scores = [0.0] * len(texts)
        with torch.inference_mode():
            for begin in range(0, len(order), self.batch_size):
                indices = order[begin : begin + self.batch_size]
                nats = self._nats([texts[index] for index in indices]).tolist()
                for index, value in zip(indices, nats, strict=True):
                    bounded = min(value, math.log(self.maximum))
                    scores[index] = bounded if self.logarithm else min(math.exp(bounded), self.maximum)
        return scores

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_loaded"}

    def _nats(self, texts: "Sequence[tuple[list[int], list[int]]]") -> "Tensor":
        """Return the mean of −log p over each completion's tokens, shape (N,)."""
        import torch

        model, _ = self._loaded
        limit = getattr(model.config, "max_position_embeddings", None) or 1 << 30
        rows = [(before + after)[-limit:] for before, after in texts]
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        is_real = torch.zeros(len(rows), width, dtype=torch.bool)
        is_scored = torch.zeros(len(rows), width, dtype=torch.bool)
        for index, (row, (_, after)) in enumerate(zip(rows, texts, strict=True)):
            ids[index, : len(row)] = torch.tensor(row)
            is_real[index, : len(row)] = True
            is_scored[index, max(len(row) - len(after), 1) : len(row)] = True
        ids, is_scored = ids.to(model.device), is_scored.to(model.device)
        logits = model(ids, attention_mask=is_real.long().to(model.device)).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")  # (N, T - 1)
        scored = is_scored[:, 1:]
        return (losses * scored).sum(-1) / scored.sum(-1)

    @cached_property
    def _loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The model in evaluation mode and its tokenizer; loaded anew in another process."""
        from textgym.models import load_language_model, load_tokenizer, move_model

        tokenizer = load_tokenizer(self.model)
        return move_model(load_language_model(self.model), self.device), tokenizer
