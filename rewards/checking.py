"""`check_reward`: does a reward keep the contract? What `check_env` is to environments."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from textgym.reward_protocol import (
    RewardError,
    RewardResult,
    RewardSpec,
    resolve_reward,
    reward_arguments,
    reward_name,
    score_completions,
)
from textgym.reward_validation import call_reward

from .arguments import check_text

MANY = 100
_TOLERANCE = 1e-4


class _Case(NamedTuple):
    """A batch of N completions, and what is special in it."""

    what: str
    completions: list[str]


_PLAIN = " was wide and calm, and nobody was there."
_CASES = (
    _Case("one completion", [_PLAIN]),
    _Case("an empty completion", [""]),
    _Case("white space alone", [" \n\t "]),
    _Case("Chinese text", ["很平静，没有人在那里。"]),
    _Case("emoji and combining characters", ["👩‍👩‍👧 e\u0301 \u200d\ufe0f"]),
    _Case("text from right to left", ["كان البحر هادئا"]),
    _Case("control characters and line separators", ["\x00\x07\u2028\r\n\ufffd"]),
    _Case("a long completion", [_PLAIN * 200]),
    _Case(f"{MANY} completions", [f"{_PLAIN} {number}" for number in range(MANY)]),
)


def check_reward(reward: RewardSpec, columns: Mapping[str, Any] | None = None, prompt: str = "The sea") -> None:
    """Call a reward with what a policy may write, and report all that breaks the contract.

    It is called with one and with many completions, with empty ones, with Chinese, emoji, control characters and very
    long ones, and with the same item twice. A warning says what is allowed, but seldom meant: scores that depend on the
    rest of the batch or change from call to call, and a reward that cannot be pickled.

    >>> check_reward(lambda prompts, completions, **columns: [len(text) for text in completions])  # doctest: +SKIP

    Args:
        reward: A reward, or what names one; see `textgym.rewards.build_reward`.
        columns: Value of each column that it reads, the same for all completions: `{"reference": "The sea was calm."}`.
        prompt: The prompt of all completions.

    Raises:
        ValueError: If the reward breaks the contract; each case in which it does is listed.
        TypeError: If it cannot be called as a reward.
    """
    if not isinstance(columns, Mapping | None):
        raise TypeError(f"columns must be a mapping, such as {{'reference': 'The sea was calm.'}}, got {columns!r}.")
    check_text("prompt", prompt)
    resolved = resolve_reward(reward)
    checker = _Checker(resolved, dict(columns or {}), prompt)
    for case in _CASES:
        checker.check(case)
    if not checker.problems:
        checker.check_repeats()
        checker.check_pickle()
    for warning in checker.warnings:
        warnings.warn(f"Reward {reward_name(resolved)!r} {warning}", stacklevel=2)
    if checker.problems:
        problems = "\n".join(f"- {problem}" for problem in checker.problems)
        raise ValueError(f"Reward {reward_name(resolved)!r} breaks the contract:\n{problems}")


class _Checker:
    """Calls a reward and remembers what was wrong."""

    def __init__(self, reward: Any, columns: dict[str, Any], prompt: str) -> None:
        self.reward = reward
        self.columns = columns
        self.prompt = prompt
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def score(self, completions: Sequence[str]) -> RewardResult:
        size = len(completions)
        # One id a character; any will do, since a reward has no tokenizer to look them up in.
        ids = [[ord(character) % 256 for character in text] for text in completions]
        columns = {key: [value] * size for key, value in self.columns.items()}
        return score_completions(self.reward, [self.prompt] * size, completions, columns, ids)

    def check(self, case: _Case) -> None:
        try:
            result = self.score(case.completions)
        except RewardError as error:
            self.problems.append(f"{case.what}: {error.problem}")
            return
        bounds = getattr(self.reward, "score_range", None)
        outside = [score for score in result.scores if bounds and not bounds[0] - 1e-6 <= score <= bounds[1] + 1e-6]
        if outside:
            self.problems.append(f"{case.what}: the score {outside[0]} is outside of its score_range, {bounds}")
        self._check_arguments(case)

    def check_repeats(self) -> None:
        """Check what should make no difference to a score."""
        twice = self.score([_PLAIN, _PLAIN]).scores
        if not _equal(twice[:1], twice[1:]):
            self.warnings.append(f"gives the same completion in one batch {twice[0]} and {twice[1]}")
            return
        if not _equal(twice, self.score([_PLAIN, _PLAIN]).scores):
            self.warnings.append("gives the same batch other scores when it is called again, so no run repeats exactly")
            return
        among_others = self.score([_PLAIN, "", "很平静。"]).scores[:1]
        if not _equal(twice[:1], among_others):
            self.warnings.append(
                f"gives a completion {twice[0]} alone and {among_others[0]} among others: scores depend on the batch"
            )

    def check_pickle(self) -> None:
        """Check that the reward reaches another process."""
        try:
            pickle.loads(pickle.dumps(self.reward))
        except Exception as error:  # whatever a class's own pickling may raise
            self.warnings.append(f"cannot be pickled ({error}), so it cannot be used in another process")

    def _check_arguments(self, case: _Case) -> None:
        """Check that the reward leaves what it is given as it was."""
        size = len(case.completions)
        texts = {"prompts": [self.prompt] * size, "completions": list(case.completions)}
        ids = [[1] for _ in case.completions]
        columns = reward_arguments(
            **texts, columns={k: [v] * size for k, v in self.columns.items()}, completion_ids=ids
        )
        given = deepcopy((texts, {key: value for key, value in columns.items() if isinstance(value, list)}))
        call_reward(self.reward, reward_name(self.reward), texts, columns)
        if given != (texts, {key: value for key, value in columns.items() if isinstance(value, list)}):
            self.problems.append(f"{case.what}: it changes the lists that it is given, which others read after it")


def _equal(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) <= _TOLERANCE * max(1.0, abs(a)) for a, b in zip(one, other, strict=True))
