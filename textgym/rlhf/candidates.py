"""Which completions and pairs people are asked about: new ones, on which reward models disagree most."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from textgym.prompts import load_prompts
from textgym.rewards.learned import EnsembleRewardModel, RewardModel
from textgym.training.settings import TrainSettings
from textgym.training.writing import write_completions

from .annotators import Pair, Text


def write_candidates(settings: TrainSettings, n: int, seed: int) -> list[Text]:
    """Write n completions with the settings' model, each prompt as often as any other, give or take one."""
    prompts = [prompt for prompt, _ in load_prompts(settings.task.prompts)]
    random.Random(seed).shuffle(prompts)
    chosen = [prompts[index % len(prompts)] for index in range(n)]
    return [Text(*pair) for pair in write_completions(settings.model, chosen, settings, seed=seed)]


def write_pairs(settings: TrainSettings, n: int, seed: int) -> list[Pair]:
    """Write n pairs of completions of one prompt each, each prompt as often as any other, give or take one."""
    prompts = [prompt for prompt, _ in load_prompts(settings.task.prompts)]
    random.Random(seed).shuffle(prompts)
    chosen = [prompts[index % len(prompts)] for index in range(n) for _ in range(2)]
    written = [text for _, text in write_completions(settings.model, chosen, settings, seed=seed)]
    return list(map(Pair, chosen[::2], written[::2], written[1::2]))


def choose(
    candidates: Sequence[Text], n: int, *, asked_before: Iterable[Text], model: RewardModel | None, seed: int
) -> list[dict[str, Any]]:
    """Choose the completions that are rated.

    Left out are texts that nobody could rate (empty ones, and those with a NUL, which no database keeps) and those that
    were rated before.

    Args:
        candidates: What was written.
        n: How many are wanted; fewer are chosen where there are no more.
        asked_before: What was rated in earlier rounds.
        model: An ensemble, whose disagreement decides; None draws.
        seed: Decides the draw.

    Returns:
        For each candidate `prompt`, `completion`, `is_asked`, and of an ensemble `score` and `disagreement`.

    Raises:
        ValueError: If there are not even two to choose.
    """
    known = set(asked_before)
    eligible = []
    for index, text in enumerate(candidates):
        if text.completion.strip() and "\0" not in text.completion and text not in known:
            eligible.append(index)
            known.add(text)
    if len(eligible) < 2:
        raise ValueError(
            f"Of {len(candidates)} candidates only {len(eligible)} are new and not empty; give more prompts, more "
            "feedback.candidates, or a larger training.task.max_new_tokens."
        )
    rows: list[dict[str, Any]] = [text._asdict() for text in candidates]
    if isinstance(model, EnsembleRewardModel):
        scores = model.score_members(*_columns(candidates))
        for row, score, disagreement in zip(rows, scores.mean.tolist(), scores.disagreement.tolist(), strict=True):
            row |= {"score": score, "disagreement": disagreement}
        # Stable, so that the same candidates are chosen again.
        order = np.argsort(-scores.disagreement[eligible], kind="stable").tolist()
        chosen = {eligible[place] for place in order[:n]}
    else:
        chosen = set(random.Random(seed).sample(eligible, min(n, len(eligible))))
    return [{**row, "is_asked": index in chosen} for index, row in enumerate(rows)]


def choose_pairs(
    candidates: Sequence[Pair],
    n: int,
    *,
    asked_before: Iterable[Pair],
    model: RewardModel | None,
    by_disagreement: bool,
) -> list[dict[str, Any]]:
    """Choose the pairs that are compared.

    Left out are pairs that nobody could compare (with an empty text, one with a NUL, or two that differ in white space
    alone) and those that were compared before.

    Args:
        candidates: What was written, of prompts in random order.
        n: How many are wanted; fewer are chosen where there are no more.
        asked_before: What was compared in earlier rounds.
        model: The reward model so far; None where there is none yet.
        by_disagreement: Whether an ensemble decides, by the standard deviation over its members of the difference of a
            pair's scores; else the first are chosen, of whichever prompts those are.

    Returns:
        For each chosen pair `prompt`, `completion_a` and `completion_b`; where there is a model what it foresees,
        `score_a` and `score_b`; and `disagreement` where that decided.

    Raises:
        ValueError: If there is none to choose.
    """
    known = {(pair.prompt, frozenset(pair[1:])) for pair in asked_before}
    eligible: list[Pair] = []
    for pair in candidates:
        key = pair.prompt, frozenset(pair[1:])
        is_told_apart = pair.completion_a.strip() != pair.completion_b.strip()
        if is_told_apart and all(text.strip() and "\0" not in text for text in pair[1:]) and key not in known:
            eligible.append(pair)
            known.add(key)
    if not eligible:
        raise ValueError(
            f"Of {len(candidates)} pairs of completions none is new and of two different texts; give more prompts, or "
            "a larger training.task.max_new_tokens."
        )
    rows: list[dict[str, Any]] = [pair._asdict() for pair in eligible]
    if by_disagreement and isinstance(model, EnsembleRewardModel):
        differences = np.array([np.subtract(*_scores(member, eligible)) for member in model.members])  # (members, N)
        disagreement = differences.std(0)
        # Stable, so that the same candidates are chosen again.
        order = np.argsort(-disagreement, kind="stable").tolist()
        rows = [{**rows[place], "disagreement": float(disagreement[place])} for place in order]
    rows = rows[:n]
    if model is not None:
        for row, *scores in zip(rows, *_scores(model, [Pair.of(row) for row in rows]), strict=True):
            row |= {"score_a": scores[0], "score_b": scores[1]}
    return rows


def _scores(model: RewardModel, pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    """Return a model's scores of the first completions and of the second ones."""
    prompts = [pair.prompt for pair in pairs]
    first, second = (model.score(prompts, [pair[side] for pair in pairs]) for side in (1, 2))
    return first, second


def _columns(texts: Sequence[Text]) -> tuple[list[str], list[str]]:
    return [text.prompt for text in texts], [text.completion for text in texts]
