"""Raters in code: each says what a reward says, give or take an error of their own."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from textgym.feedback.tables import Preference
from textgym.models import encode_texts
from textgym.reward_protocol import Reward, score_completions
from textgym.training.report import describe_reward

from .annotators import ComparisonRow, Pair, RatingRow, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Columns = Mapping[str, Mapping[str, object]]


class Scale(NamedTuple):
    """Numbers from `least` to `most`, as people give them: whole ones, or any."""

    least: float
    most: float
    is_whole: bool = True


class CodedRaters:
    """Raters who see a text as a reward does.

    Args:
        reward: What a text is worth.
        n_raters: Raters of each text.
        noise: Standard deviation of a rater's error.
        scale: What ratings are brought to; None leaves them as they are.
        columns: By prompt the other columns of the prompts' data, which the reward may read.
        tokenizer: Whose tokens of a text the reward may read; None where it reads none.
        name: Who they are, in a few words; "" for the reward as it would be typed.
    """

    def __init__(
        self,
        reward: Reward,
        n_raters: int,
        noise: float,
        *,
        scale: Scale | None = None,
        columns: Columns | None = None,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        name: str = "",
    ) -> None:
        self.reward = reward
        self.n_raters = n_raters
        self.noise = noise
        self.scale = scale
        self.columns = columns or {}
        self.tokenizer = tokenizer
        self.name = name

    def describe(self) -> str:
        """Return who they are, in a few words."""
        return f"{self.n_raters} × {self.name or describe_reward(self.reward)}, error ±{self.noise:.2f}"

    def rate(self, texts: Sequence[Text], seed: int) -> list[RatingRow]:
        """Return `n_raters` ratings of each text."""
        return [
            {**text._asdict(), "rating": rating, "rater": f"rater {number}"}
            for text, row in zip(texts, self._ratings(texts, seed), strict=True)
            for number, rating in enumerate(row, start=1)
        ]

    def compare(self, pairs: Sequence[Pair], seed: int) -> list[ComparisonRow]:
        """Return for each pair and rater which completion the rater rates higher; equal ratings are a tie."""
        texts = [Text(pair.prompt, completion) for pair in pairs for completion in pair[1:]]
        ratings = self._ratings(texts, seed)
        return [
            pair.compared(_preferred(first, second), f"rater {number}")
            for pair, *both in zip(pairs, ratings[::2], ratings[1::2], strict=True)
            for number, (first, second) in enumerate(zip(*both, strict=True), start=1)
        ]

    def _ratings(self, texts: Sequence[Text], seed: int) -> list[list[float]]:
        """Return what each rater says of each text, N lists of `n_raters`."""
        errors = np.random.default_rng(seed).normal(0.0, self.noise, (len(texts), self.n_raters))
        ratings = np.array(self.true_scores(texts))[:, None] + errors  # (N, raters)
        if self.scale is not None:
            ratings = (ratings.round() if self.scale.is_whole else ratings).clip(self.scale.least, self.scale.most)
        said: list[list[float]] = ratings.tolist()
        return said

    def true_scores(self, texts: Sequence[Text]) -> list[float]:
        """Return what the reward says of each text.

        Raises:
            RewardError: If it fails.
            ValueError: If the tokenizer cannot encode a text.
        """
        names = {name for one in self.columns.values() for name in one}
        columns: dict[str, list[Any]] = {
            name: [self.columns.get(text.prompt, {}).get(name) for text in texts] for name in sorted(names)
        }
        prompts, completions = [text.prompt for text in texts], [text.completion for text in texts]
        if self.tokenizer is None:
            ids: list[list[int]] = [[] for _ in texts]
        else:
            ids = encode_texts(self.tokenizer, completions, "completions")
        return score_completions(self.reward, prompts, completions, columns, ids).scores


def _preferred(first: float, second: float) -> Preference:
    return "tie" if first == second else "a" if first > second else "b"
