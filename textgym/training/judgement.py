"""The figures by which a model is judged before and after training."""

import math
from collections import defaultdict
from typing import Any

from textgym.agents import Evaluation

TOPIC_COLUMN = "topic"


def to_figures(evaluation: Evaluation, greedy: Evaluation, judge: float | None = None) -> dict[str, Any]:
    """Return an evaluation's figures as plain data, None where there is no number.

    Args:
        evaluation: Of sampled completions.
        greedy: Of one completion a prompt, always of the most probable token.
        judge: Mean score of the sampled completions by a judge that nothing is trained on; None without one.

    Returns:
        The figures, those of `greedy` under that key.

    `share_of_ones` is, for each term, the share of completions where it is 1: the length inside the window, all
    keywords found, a banned word used. `topics` holds number of completions, score and terms of each prompt topic,
    where prompts have a column "topic".
    """
    terms = {name: _known(_values(evaluation, name)) for name in evaluation.terms}
    return {
        **_of_completions(evaluation),
        "share_of_ones": {name: _mean([float(value == 1.0) for value in values]) for name, values in terms.items()},
        "judge": judge,
        "topics": _by_topic(evaluation),
        "greedy": _of_completions(greedy),
    }


def _of_completions(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures that sampled and greedy completions have."""
    return {
        "n_completions": len(evaluation.episodes),
        "score": evaluation.score,
        "terms": {name: _finite(value) for name, value in evaluation.terms.items()},
        "kl": None if evaluation.kl is None else _finite(evaluation.kl),
        "perplexity": None if evaluation.perplexity is None else _finite(evaluation.perplexity),
        "n_tokens": evaluation.n_tokens,
        "ended_share": evaluation.ended_share,
        "distinct_1": evaluation.distinct_1,
        "distinct_2": evaluation.distinct_2,
        "self_bleu": evaluation.self_bleu,
    }


def _by_topic(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(evaluation.episodes):
        columns = item.episode.text.prompt.columns
        if TOPIC_COLUMN in columns:
            members[str(columns[TOPIC_COLUMN])].append(index)
    return {
        topic: {
            "n_completions": len(indices),
            "score": _mean([evaluation.episodes[index].judgement.score for index in indices]),
            "terms": {
                name: _mean(_known([_values(evaluation, name)[index] for index in indices]))
                for name in evaluation.terms
            },
        }
        for topic, indices in sorted(members.items())
    }


def _values(evaluation: Evaluation, term: str) -> list[float | None]:
    return [item.judgement.terms[term] for item in evaluation.episodes]


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
