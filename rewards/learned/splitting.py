"""Feedback in two parts that share no text, so that what is held out was never seen."""

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from textgym.joining import text_key
from textgym.rewards.arguments import check_integer, check_number

from .feedback import Feedback, require_feedback


class Split(NamedTuple):
    """Feedback to learn from, and feedback to judge by."""

    training: Feedback
    held_out: Feedback


def split_feedback(feedback: Feedback, held_out: float, seed: int = 0) -> Split:
    """Split feedback so that no text stands on both sides.

    Texts that are equal but for case and spaces, and texts that are compared with one another, directly or through
    others, stay together; where they are more than the share, they are learned from.

    Args:
        feedback: At least two texts that do not belong together.
        held_out: Share that is held out, above 0 and below 1.
        seed: Decides which.

    Raises:
        ValueError: If the share is out of range, or one side would be empty.
        TypeError: If it is no feedback, or an argument no number.
    """
    require_feedback("feedback", feedback)
    check_number("held_out", held_out)
    check_integer("seed", seed)
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be above 0 and below 1, got {held_out}.")
    groups = _Groups()
    for rating in feedback.ratings:
        groups.find(text_key(rating.prompt, rating.completion))
    for pair in feedback.preferences:
        groups.join(text_key(pair.prompt, pair.chosen), text_key(pair.prompt, pair.rejected))
    of_ratings = [groups.find(text_key(one.prompt, one.completion)) for one in feedback.ratings]
    of_pairs = [groups.find(text_key(one.prompt, one.chosen)) for one in feedback.preferences]
    names = groups.names()
    random.Random(seed).shuffle(names)
    chosen = _choose(names, Counter([*of_ratings, *of_pairs]), held_out)
    rated = [name in chosen for name in of_ratings]
    compared = [name in chosen for name in of_pairs]

    def side(is_held_out: bool) -> Feedback:
        return dataclasses.replace(
            feedback,
            ratings=tuple(one for one, held in zip(feedback.ratings, rated, strict=True) if held is is_held_out),
            preferences=tuple(
                one for one, held in zip(feedback.preferences, compared, strict=True) if held is is_held_out
            ),
        )

    return Split(side(False), side(True))


def _choose(names: list[str], sizes: Mapping[str, int], share: float) -> set[str]:
    """Return groups that have nearly this share of all feedback: the first ones that are not too large."""
    if len(names) < 2:
        raise ValueError(
            f"Feedback can only be split into two parts that share no text if there are at least two groups of texts, "
            f"got {len(names)}. Give more feedback, or held-out feedback of its own; on the command line --held-out 0 "
            "holds nothing out."
        )
    room = max(1, round(share * sum(sizes.values())))
    chosen = set()
    for name in names[:-1]:
        if sizes[name] <= room:
            chosen.add(name)
            room -= sizes[name]
    return chosen or {min(names, key=lambda name: sizes[name])}


class _Groups:
    """Texts that belong together (union-find); a group's name is one of its texts."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, text: str) -> str:
        parents = self._parents
        parents.setdefault(text, text)
        while parents[text] != text:
            parents[text] = text = parents[parents[text]]
        return text

    def join(self, one: str, other: str) -> None:
        self._parents[self.find(one)] = self.find(other)

    def names(self) -> list[str]:
        """Return the groups in the order in which their texts came."""
        return list(dict.fromkeys(self.find(text) for text in list(self._parents)))
