"""Which completions people are asked about: new ones, on which reward models disagree most."""

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


def write_pairs(settings: TrainSettings, n: int, asked_before: Iterable[Pair], seed: int) -> list[Pair]:
    """Write n pairs of completions of one prompt each, new ones that somebody could compare.

    Raises:
        ValueError: If there is none.
    """
    known = {(pair.prompt, frozenset(pair[1:])) for pair in asked_before}
    prompts = [prompt for prompt, _ in load_prompts(settings.task.prompts)]
    random.Random(seed).shuffle(prompts)
    # Twice as many as are asked, since some may be empty or alike.
    chosen = [prompts[index % len(prompts)] for index in range(2 * n) for _ in range(2)]
    written = [text for _, text in write_completions(settings.model, chosen, settings, seed=seed)]
    pairs: list[Pair] = []
    for pair in map(Pair, chosen[::2], written[::2], written[1::2]):
        key = pair.prompt, frozenset(pair[1:])
        is_usable = all(text.strip() and "\0" not in text for text in pair[1:]) and len(key[1]) == 2
        if is_usable and key not in known and len(pairs) < n:
            known.add(key)
            pairs.append(pair)
    if not pairs:
        raise ValueError(
            f"Of {2 * n} pairs of completions none is new and of two different texts; give more prompts, or a larger "
            "training.task.max_new_tokens."
        )
    return pairs


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


def _columns(texts: Sequence[Text]) -> tuple[list[str], list[str]]:
    return [text.prompt for text in texts], [text.completion for text in texts]
