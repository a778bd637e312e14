"""`check_reward`: does a reward keep the contract? What `check_env` is to environments."""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from numbers import Real
from typing import Any, NamedTuple

from textgym.reward_protocol import (
    PotentialReward,
    RewardError,
    RewardSpec,
    StepReward,
    TermedReward,
    evaluate_reward,
    resolve_reward,
    reward_arguments,
    reward_name,
)
from textgym.reward_validation import call_reward, read_numbers
from textgym.shaping import asks_for_shaping

from .arguments import check_text

MANY = 100
SHOWN_CHARACTERS = 300
_TOLERANCE = 1e-4


class _Case(NamedTuple):
    """A batch of N completions, and what is special in it.

    Attributes:
        what: That, in words.
        completions: The texts, length N.
        prompts: Prompt of each, length N; None for the one that the check was given.
    """

    what: str
    completions: list[str]
    prompts: list[str] | None = None


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
    _Case("an empty prompt", [_PLAIN], [""]),
    _Case("an empty prompt and an empty completion", [""], [""]),
    _Case("several prompts", [_PLAIN, "", "很平静。"], ["", "The sea", "海"]),
    _Case(f"{MANY} completions", [f"{_PLAIN} {number}" for number in range(MANY)]),
)
_UNFINISHED = _Case("unfinished texts", [" was wi", "很平", "👩‍", "\ufffd"])
_ITEM = re.compile(r" (?:on|for) completion \d+ of \d+:$")
# A function of prompts, texts and the columns of a case, which gives a number for each text.
_Judge = Callable[[list[str], list[str], dict[str, Any]], list[float]]


def check_reward(reward: RewardSpec, columns: Mapping[str, Any] | None = None, prompt: str = "The sea") -> None:
    """Call a reward with what a policy may write, and report all that breaks the contract.

    It is called with one and with many completions, with empty ones, with Chinese, emoji, control characters and very
    long ones, with empty prompts, with the same item twice, and in another thread, as where agents score. Where it has
    `prefix_rewards` or `potentials` (see `textgym.reward_protocol`), these are called with the same texts, and with
    some that break off. It may not change what it is given, or leave its `score_range`, and a pickled copy has to score
    alike.

    A warning says what is allowed, but seldom meant: scores that depend on the rest of the batch or change from call to
    call, and a reward that cannot be pickled.

    >>> check_reward(lambda prompts, completions, **columns: [len(text) for text in completions])  # doctest: +SKIP

    Args:
        reward: A reward, or what names one; see `textgym.rewards.build_reward`.
        columns: Value of each column that it reads, the same for all completions: `{"reference": "The sea was calm."}`.
        prompt: The prompt of most completions.

    Raises:
        ValueError: If the reward breaks the contract; each way in which it does is listed, with prompt and completion,
            and the further cases in which it does likewise.
        TypeError: If it cannot be called as a reward, or an argument is of the wrong type.
    """
    if not isinstance(columns, Mapping | None):
        raise TypeError(f"columns must be a mapping, such as {{'reference': 'The sea was calm.'}}, got {columns!r}.")
    check_text("prompt", prompt)
    resolved = resolve_reward(reward)
    checker = _Checker(resolved, dict(columns or {}), prompt)
    checker.check_all()
    for warning in checker.warnings:
        warnings.warn(f"Reward {reward_name(resolved)!r} {warning}", stacklevel=2)
    if checker.problems:
        problems = "\n".join(f"- {problem}" for problem in checker.problems.values())
        raise ValueError(f"Reward {reward_name(resolved)!r} breaks the contract:\n{problems}")


class _Problem(NamedTuple):
    """What is wrong, with the first case in which it is, and the further cases."""

    text: str
    likewise: list[str]

    def __str__(self) -> str:
        return f"{self.text}\n    likewise: {'; '.join(self.likewise)}" if self.likewise else self.text


class _Checker:
    """Calls a reward and remembers what was wrong."""

    def __init__(self, reward: Any, columns: dict[str, Any], prompt: str) -> None:
        self.reward = reward
        self.name = reward_name(reward)
        self.columns = columns
        self.prompt = prompt
        self.problems: dict[str, _Problem] = {}
        self.warnings: list[str] = []

    def check_all(self) -> None:
        self._check_score_range()
        for what, judge in self._judges().items():
            n_before = len(self.problems)
            for case in _CASES if not what else (*_CASES, _UNFINISHED):
                self._check_case(case, judge, what)
            if len(self.problems) == n_before:
                self._check_repeats(judge, what)
        if not self.problems:
            self._check_call()
            self._check_thread()
        self._check_pickle()

    def _judges(self) -> dict[str, _Judge]:
        """Return the ways in which the reward is asked, by what to call them in a report; "" is the score."""
        judges: dict[str, _Judge] = {"": self._scores}
        if isinstance(self.reward, StepReward):
            # Step rewards get the prompts' columns alone: tokens are not looked at before a text is finished.
            judges["prefix_rewards"] = lambda prompts, texts, arguments: self._numbers(
                self.reward.prefix_rewards, prompts, texts, {key: arguments[key] for key in self.columns}
            )
        if isinstance(self.reward, PotentialReward):
            judges["potentials"] = lambda *batch: self._numbers(self.reward.potentials, *batch)
        if asks_for_shaping(self.reward):
            judges["shaping_potentials"] = lambda *batch: self._numbers(self.reward.shaping_potentials, *batch)
        return judges

    def _scores(self, prompts: list[str], texts: list[str], arguments: dict[str, Any]) -> list[float]:
        return evaluate_reward(self.reward, prompts, texts, arguments).scores

    def _numbers(
        self, function: Callable[..., Any], prompts: list[str], prefixes: list[str], arguments: dict[str, Any]
    ) -> list[float]:
        values = call_reward(function, self.name, {"prompts": prompts, "prefixes": prefixes}, arguments)
        return read_numbers(values, self.name, prompts, prefixes)

    def _batch(self, texts: list[str], prompts: list[str] | None = None) -> tuple[list[str], list[str], dict[str, Any]]:
        prompts = [self.prompt] * len(texts) if prompts is None else list(prompts)
        # One id a character; any will do, since a reward has no tokenizer to look them up in.
        ids = [[ord(character) % 256 for character in text] for text in texts]
        columns = {key: [value] * len(texts) for key, value in self.columns.items()}
        return prompts, list(texts), reward_arguments(prompts, texts, columns, ids)

    def _check_case(self, case: _Case, judge: _Judge, what: str) -> None:
        described = f"{what} of {case.what}" if what else case.what
        batch = self._batch(case.completions, case.prompts)
        given = deepcopy(_lists(batch))
        try:
            values = judge(*batch)
        except RewardError as error:
            self._report(described, error)
            return
        if given != _lists(batch):
            self._report(described, "it changes the lists that it is given, which others read after it")
        if not what:
            self._check_bounds(described, values)

    def _report(self, described: str, error: RewardError | str) -> None:
        """Remember a problem; one that was there before in another case is named beside that."""
        what = _ITEM.sub("", error.problem) if isinstance(error, RewardError) else error
        if what in self.problems:
            self.problems[what].likewise.append(described)
        else:
            text = _in_full(error) if isinstance(error, RewardError) else error
            self.problems[what] = _Problem(f"{described}: {text}", [])

    def _check_bounds(self, described: str, scores: Sequence[float]) -> None:
        bounds: Any = getattr(self.reward, "score_range", None)
        if not _is_range(bounds):
            return
        outside = [score for score in scores if not bounds[0] - 1e-6 <= score <= bounds[1] + 1e-6]
        if outside:
            self._report(described, f"the score {outside[0]} is outside of its score_range, {bounds}")

    def _check_score_range(self) -> None:
        bounds = getattr(self.reward, "score_range", None)
        if bounds is not None and not _is_range(bounds):
            self._report("score_range", f"it must be None or two numbers (low, high), got {bounds!r}")

    def _check_repeats(self, judge: _Judge, what: str) -> None:
        """Check what should make no difference to a score."""
        of = f"{what}: " if what else ""
        twice = judge(*self._batch([_PLAIN, _PLAIN]))
        if not _equal(twice[:1], twice[1:]):
            self.warnings.append(f"{of}gives the same completion in one batch {twice[0]} and {twice[1]}")
            return
        if not _equal(twice, judge(*self._batch([_PLAIN, _PLAIN]))):
            self.warnings.append(
                f"{of}gives the same batch other scores when it is called again, so no run repeats exactly"
            )
            return
        among_others = judge(*self._batch([_PLAIN, "", "很平静。"]))[:1]
        if not _equal(twice[:1], among_others):
            self.warnings.append(
                f"{of}gives a completion {twice[0]} alone and {among_others[0]} among others: scores depend on the "
                "batch"
            )

    def _check_call(self) -> None:
        """Check that a reward that reports its terms gives the same scores where it is called."""
        candidate: object = self.reward
        if self.warnings or not isinstance(candidate, TermedReward):
            return
        prompts, texts, arguments = self._batch([_PLAIN, ""])
        expected = self._scores(prompts, texts, arguments)
        try:
            called = evaluate_reward(self.reward, prompts, texts, arguments, name=self.name).scores
        except RewardError as error:
            self._report("called rather than asked by evaluate()", error)
            return
        if not _equal(expected, called):
            self._report("evaluate()", f"it gives the scores {expected}, a call {called} of the same completions")

    def _check_thread(self) -> None:
        """Check that the reward can be called where agents call it."""
        with ThreadPoolExecutor(1, thread_name_prefix="reward") as worker:
            try:
                worker.submit(self._scores, *self._batch([_PLAIN])).result()
            except RewardError as error:
                self._report("in another thread, as where agents score", error)

    def _check_pickle(self) -> None:
        """Check that the reward reaches another process, and is the same there."""
        try:
            copy = pickle.loads(pickle.dumps(self.reward))
        except Exception as error:  # whatever a class's own pickling may raise
            self.warnings.append(f"cannot be pickled ({error}), so it cannot be used in another process")
            return
        if self.problems or self.warnings:
            return
        expected = self._scores(*self._batch([_PLAIN, ""]))
        try:
            scores = evaluate_reward(copy, *self._batch([_PLAIN, ""])).scores
        except RewardError as error:
            self._report("a pickled copy, as in another process", error)
            return
        if not _equal(expected, scores):
            self._report(
                "a pickled copy, as in another process", f"it gives {scores} where the reward gives {expected}"
            )


def _lists(batch: tuple[list[str], list[str], dict[str, Any]]) -> list[Any]:
    """Return what of a batch a reward could change."""
    prompts, texts, arguments = batch
    return [prompts, texts, {key: value for key, value in arguments.items() if isinstance(value, list)}]


def _in_full(error: RewardError) -> str:
    """Print an error with prompt and completion below it, of which a long one is cut."""
    shown = [_shown(error.prompt), _shown(error.completion)]
    return f"{error.problem}\n    prompt: {shown[0]}\n    completion: {shown[1]}"


def _shown(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:SHOWN_CHARACTERS]!r} and so on, {len(text):,} characters"


def _is_range(bounds: object) -> bool:
    return (
        isinstance(bounds, Sequence)
        and len(bounds) == 2
        and all(isinstance(bound, Real) for bound in bounds)
        and bounds[0] <= bounds[1]
    )


def _equal(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) <= _TOLERANCE * max(1.0, abs(a)) for a, b in zip(one, other, strict=True))
