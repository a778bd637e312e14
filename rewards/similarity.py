"""A reward for completions that are like a reference text: BLEU, ROUGE-L or chrF."""

from collections.abc import Sequence
from typing import Any

from .arguments import check_text
from .function import RewardFunction
from .registry import register_reward
from .similarity_measures import MEASURES, Metric


@register_reward("similarity")
class Similarity(RewardFunction):
    """How like its reference a completion is: 0 for not at all, 1 for the same.

    The references are a column of the prompt data, each a text or a list of several that are equally good. It does not
    apply where a reference is None. Needs the extra `similarity`.

    Metrics:
        - "bleu": of one sentence, with effective order and exponential smoothing, by sacrebleu. Each Chinese or
          Japanese character counts as a word.
        - "rouge_l": F-measure of the longest common subsequence, found by rapidfuzz, of words (see
          `textgym.rewards.units.split_words`); of several references the best.
        - "chrf": chrF2 of characters (not of words), as sacrebleu defines it; of several references the best. Fits any
          language.

    Args:
        metric: What is measured.
        column: Name of the column with the references.
        name: Name of the term; None for "similarity".

    Raises:
        ValueError: If the metric is unknown.
        TypeError: If the column is no text.
        MissingPackageError: If its package is not installed.

    Reference:
        Papineni et al. (2002); Lin (2004); Popović (2015).
    """

    declared_range = (0.0, 1.0)

    def __init__(self, metric: Metric = "rouge_l", column: str = "reference", *, name: str | None = None) -> None:
        super().__init__(name=name)
        if metric not in MEASURES:
            raise ValueError(f'metric must be "bleu", "rouge_l" or "chrf", got {metric!r}.')
        check_text("column", column)
        self.metric = metric
        self.column = column
        self._measure = MEASURES[metric]()

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Return each completion's similarity, 0 to 1; None where there is no reference.

        Raises:
            ValueError: If the column is missing, or a reference is an empty list.
            TypeError: If a reference is neither text, nor a list of texts, nor None.
        """
        if self.column not in columns:
            raise ValueError(
                f"Similarity compares with the column {self.column!r}, which the prompts do not have. Add it to them, "
                "or name another by column=."
            )
        pairs = zip(completions, map(_as_list, columns[self.column]), strict=True)
        known = [(text, several) for text, several in pairs if several is not None]
        found = iter(self._measure([text for text, _ in known], [several for _, several in known]))
        return [None if reference is None else min(1.0, next(found)) for reference in columns[self.column]]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_measure"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._measure = MEASURES[self.metric]()


def _as_list(reference: object) -> list[str] | None:
    if reference is None:
        return None
    texts = [reference] if isinstance(reference, str) else reference
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"A reference must be a text, a list of texts or None, got {reference!r}.")
    if not texts:
        raise ValueError("A list of references must have at least one, got an empty one; for no reference give None.")
    return list(texts)
