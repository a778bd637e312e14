"""Pairs of completions with a preference, made from ratings."""

import random
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence

from textgym.rewards.arguments import check_integer, check_number

from .feedback import Feedback, Preference, Rating, require_rating_list


def pairs_from_ratings(
    ratings: Sequence[Rating], *, min_gap: float = 1.0, pairs_per_rating: int = 2, seed: int = 0
) -> list[Preference]:
    """Make pairs of two completions of one prompt whose ratings are far enough apart.

    Args:
        ratings: What was rated. Where no prompts are known, all are completions of the prompt "".
        min_gap: The ratings must differ by more than this.
        pairs_per_rating: For each rating so many partners are drawn, with replacement; two ratings that are drawn
            together twice count once, and those of one text are no pair.
        seed: Decides the draws.

    Returns:
        The pairs; a pair's margin is the difference of its ratings, its weight the product of the two weights.

    Raises:
        ValueError: If `min_gap` is negative or `pairs_per_rating` is below 1.
        TypeError: If these are no ratings, or an argument no number.
    """
    require_rating_list(ratings)
    check_number("min_gap", min_gap, least=0)
    check_integer("pairs_per_rating", pairs_per_rating, least=1)
    by_prompt: dict[str, list[Rating]] = defaultdict(list)
    for one in ratings:
        by_prompt[one.prompt].append(one)
    generator = random.Random(seed)
    pairs: dict[tuple[str, int, int], Preference] = {}
    for prompt, group in by_prompt.items():
        ordered = sorted(range(len(group)), key=lambda place: group[place].rating)
        values = [group[place].rating for place in ordered]
        for number, one in enumerate(group):
            n_below = bisect_left(values, one.rating - min_gap)
            n_above = len(values) - bisect_right(values, one.rating + min_gap)
            for _ in range(pairs_per_rating if n_below + n_above else 0):
                drawn = generator.randrange(n_below + n_above)
                partner = ordered[drawn] if drawn < n_below else ordered[len(values) - n_above + drawn - n_below]
                if group[partner].completion != one.completion:
                    # By number rather than by text: of an ensemble's bootstrap sample a rating may be there twice.
                    pairs[prompt, min(number, partner), max(number, partner)] = _prefer(one, group[partner])
    return list(pairs.values())


def all_preferences(feedback: Feedback, *, min_gap: float, pairs_per_rating: int, seed: int) -> list[Preference]:
    """Return the preferences that were given, but for those of weight 0, and those made from ratings."""
    made = pairs_from_ratings(feedback.ratings, min_gap=min_gap, pairs_per_rating=pairs_per_rating, seed=seed)
    return [*(one for one in feedback.preferences if one.weight > 0), *made]


def _prefer(one: Rating, other: Rating) -> Preference:
    better, worse = (one, other) if one.rating > other.rating else (other, one)
    return Preference(
        one.prompt,
        better.completion,
        worse.completion,
        margin=better.rating - worse.rating,
        weight=better.weight * worse.weight,
    )
