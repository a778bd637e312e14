"""Checks of what a reward gives back; every failure names the reward and shows the prompt and the completion."""

import inspect
import math
import re
import reprlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

from textgym.async_rewards import wait_for

Result = TypeVar("Result")

_MISSING_ARGUMENTS = re.compile(r"missing \d+ required \S+ arguments?: (.+)$")
_ALWAYS_GIVEN = {"completion_ids", "trainer_state", "log_extra", "log_metric"}

# What a reward returns by mistake is shown as far as it helps: a line or two.
_LONG_REPR = reprlib.Repr()
_LONG_REPR.maxstring = _LONG_REPR.maxother = 200
_NUMBER = "a finite number"
_TOKENS = "a list of one finite number per token"


class RewardError(ValueError):
    """A reward that failed, or gave back something that cannot be used.

    Attributes:
        problem: What was expected and what came.
        prompt: Prompt of the completion in question; of the batch's first where the whole batch is at fault.
        completion: The completion, likewise.
    """

    def __init__(self, problem: str, prompt: str, completion: str) -> None:
        """Keep the three parts, so that the error survives pickling between processes."""
        super().__init__(problem, prompt, completion)
        self.problem = problem
        self.prompt = prompt
        self.completion = completion

    def __str__(self) -> str:
        """Return the problem, and below it the prompt and the completion."""
        return f"{self.problem}\n  prompt: {self.prompt!r}\n  completion: {self.completion!r}"


class ReadScores(NamedTuple):
    """What a reward returned for N completions, as plain floats.

    Attributes:
        scores: Score of each completion, the sum where token rewards came, None where the reward does not apply.
        token_rewards: Rewards of each completion's tokens where such came, else None.
    """

    scores: list[float | None]
    token_rewards: list[list[float] | None]


@runtime_checkable
class _ConvertsToList(Protocol):
    """An array, tensor or scalar of numpy or torch, neither of which needs to be imported here."""

    def tolist(self) -> Any: ...


def call_reward(
    function: Callable[..., Result | Awaitable[Result]],
    name: str,
    texts: Mapping[str, Sequence[str]],
    columns: Mapping[str, Any],
) -> Result:
    """Call a reward by keywords, as TRL does, wait for it if it is async, and turn what it raises into a `RewardError`.

    Where a batch fails, its items are tried one by one (until the first fails likewise) to find out which to show.

    Args:
        function: What to call.
        name: Name of the reward in the error.
        texts: The prompts, and the completions or prefixes, under the names of the function's parameters.
        columns: Further keyword arguments; sequences of the batch's length belong to its items.

    Raises:
        RewardError: If `function` raises an exception. One that is a `RewardError` already passes through.
    """
    arguments = {**texts, **columns}
    try:
        return _finished(function(**arguments))
    except RewardError:
        raise
    except Exception as error:
        prompts, completions = texts.values()
        culprit = _failing_item(function, type(error), len(prompts), arguments)
        if culprit is None:
            culprit, where = 0, f"a batch of {len(prompts)} completions, none of which fails alone; the first is"
        else:
            where = f"completion {culprit + 1} of {len(prompts)}"
        hint = ""
        if isinstance(error, TypeError) and str(error).startswith("string indices must be integers"):
            hint = "; if it reads messages, as many of TRL's do, give Conversational(…) of it,"
        # Raised by the call itself, and not within the reward.
        is_refused = (
            isinstance(error, TypeError) and error.__traceback__ is not None and not error.__traceback__.tb_next
        )
        lacking = _MISSING_ARGUMENTS.search(str(error)) if is_refused else None
        if lacking is not None:
            columns_there = ", ".join(sorted(arguments.keys() - texts.keys() - _ALWAYS_GIVEN)) or "no others"
            hint = f"; the prompts have {columns_there} as columns, and not {lacking[1]},"
        problem = f"Reward {name!r} raised {type(error).__name__} ({error}){hint} on {where}:"
        raise RewardError(problem, prompts[culprit], completions[culprit]) from error


def select_items(columns: Mapping[str, Any], size: int, indices: Sequence[int]) -> dict[str, Any]:
    """Return a reward's keyword arguments for some of a batch's items.

    Args:
        columns: Keyword arguments; sequences of the batch's length belong to its items, anything else to all.
        size: Number of items in the batch.
        indices: Items to keep, in their new order.
    """
    return {
        key: [value[index] for index in indices] if is_column(value, size) else value for key, value in columns.items()
    }


def is_column(value: object, size: int) -> bool:
    """Tell whether a keyword argument has one value for each item of a batch."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) == size


def _failing_item(
    function: Callable[..., Any], error_type: type[Exception], size: int, arguments: Mapping[str, Any]
) -> int | None:
    """Return the index of the first item that raises the same type of error when it is scored alone."""
    if size == 1:
        return 0
    for index in range(size):
        try:
            _finished(function(**select_items(arguments, size, [index])))
        except error_type:
            return index
        except Exception:  # another error than the one to be explained, for example of the batch of one itself
            continue
    return None


def _finished(value: Result | Awaitable[Result]) -> Result:
    """Return the value, after waiting for it where it is one to come."""
    return wait_for(value) if not isinstance(value, list) and inspect.isawaitable(value) else value


def read_scores(
    values: object,
    name: str,
    prompts: Sequence[str],
    completions: Sequence[str],
    completion_ids: Sequence[Sequence[int]] | None = None,
) -> ReadScores:
    """Read what a reward returned: one entry a completion, each a number, None, or a list of token rewards.

    Numbers are int, float, bool (1 or 0), and numpy's and torch's scalars; lists may be arrays or tensors.

    Args:
        values: What the reward returned.
        name: Name of the reward in the error.
        prompts: The prompts, length N.
        completions: The completions, length N.
        completion_ids: Token ids of each completion; None leaves the number of token rewards unchecked.

    Raises:
        RewardError: If the count is not N, or an entry is neither None, a finite number, nor a list of finite
            numbers, one a token.
    """
    entries = _read_list(values, name, prompts, completions)
    if _are_finite_floats(entries):
        return ReadScores(list(entries), [None] * len(entries))
    scores: list[float | None] = []
    token_rewards: list[list[float] | None] = []
    for index, entry in enumerate(entries):
        if entry is None:
            scores.append(None)
            token_rewards.append(None)
            continue
        number = _finite_number(entry)
        if number is not None:
            scores.append(number)
            token_rewards.append(None)
            continue
        tokens, complaint = _read_tokens(entry, None if completion_ids is None else len(completion_ids[index]))
        if complaint:
            raise _entry_error(f"{_NUMBER}, None, or {_TOKENS}", complaint, name, index, prompts, completions)
        scores.append(math.fsum(tokens))
        token_rewards.append(tokens)
    return ReadScores(scores, token_rewards)


def read_token_rewards(
    values: object,
    name: str,
    prompts: Sequence[str],
    completions: Sequence[str],
    completion_ids: Sequence[Sequence[int]] | None = None,
) -> list[list[float] | None]:
    """Read one list of token rewards a completion, or None where it has none.

    Raises:
        RewardError: If the count is wrong, or an entry is neither None nor a list of finite numbers, one a token.
    """
    token_rewards: list[list[float] | None] = []
    for index, entry in enumerate(_read_list(values, name, prompts, completions)):
        if entry is None:
            token_rewards.append(None)
            continue
        tokens, complaint = _read_tokens(entry, None if completion_ids is None else len(completion_ids[index]))
        if complaint:
            raise _entry_error(f"None or {_TOKENS}", complaint, name, index, prompts, completions)
        token_rewards.append(tokens)
    return token_rewards


def read_numbers(values: object, name: str, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Read one finite number a completion, where neither None nor token rewards make sense.

    Raises:
        RewardError: If the count differs from the number of completions, or an entry is not a finite number.
    """
    numbers = []
    for index, entry in enumerate(_read_list(values, name, prompts, completions)):
        number = _finite_number(entry)
        if number is None:
            raise _entry_error(_NUMBER, _describe(entry), name, index, prompts, completions)
        numbers.append(number)
    return numbers


def _entry_error(
    expected: str, complaint: str, name: str, index: int, prompts: Sequence[str], completions: Sequence[str]
) -> RewardError:
    problem = (
        f"Reward {name!r} must give each completion {expected}, "
        f"got {complaint} for completion {index + 1} of {len(prompts)}:"
    )
    return RewardError(problem, prompts[index], completions[index])


def _read_list(values: object, name: str, prompts: Sequence[str], completions: Sequence[str]) -> Sequence[object]:
    if not isinstance(values, list) and isinstance(values, _ConvertsToList):
        values = values.tolist()
    # A list is told first, since an abstract class takes five times as long to be asked for.
    if not isinstance(values, (list, Sequence)) or isinstance(values, (str, bytes)):
        problem = f"Reward {name!r} must return a list with one entry per completion, got {_describe(values)}"
    elif len(values) != len(prompts):
        problem = f"Reward {name!r} must return one entry per completion, got {len(values)} for {len(prompts)}"
    else:
        return values
    raise RewardError(f"{problem}; the batch's first completion is:", prompts[0], completions[0])


def _are_finite_floats(entries: Sequence[object]) -> TypeGuard[Sequence[float]]:
    return set(map(type, entries)) == {float} and all(map(math.isfinite, entries))  # type: ignore[arg-type]


def _read_tokens(entry: object, n_tokens: int | None) -> tuple[list[float], str]:
    """Return the token rewards, and what is wrong with them ("" for nothing)."""
    if isinstance(entry, _ConvertsToList):
        entry = entry.tolist()
    if not isinstance(entry, Sequence) or isinstance(entry, (str, bytes)):
        return [], _describe(entry)
    if n_tokens is not None and len(entry) != n_tokens:
        return [], f"a list of {len(entry)} for {n_tokens} tokens"
    tokens = []
    for position, item in enumerate(entry):
        number = _finite_number(item)
        if number is None:
            return [], f"a list with {_describe(item)} for token {position + 1} of {len(entry)}"
        tokens.append(number)
    return tokens, ""


def _finite_number(value: object) -> float | None:
    """Return the value as a float, or None if it is not a finite number."""
    if type(value) is not float:
        # Asked in this order, since a protocol takes 10 µs to be looked for, and numbers are what mostly comes.
        if not isinstance(value, Real) and isinstance(value, _ConvertsToList):
            value = value.tolist()
        if not isinstance(value, Real):
            return None
        try:
            value = float(value)
        except OverflowError:  # an int beyond the range of floats
            return None
    return value if math.isfinite(value) else None


def _describe(value: object) -> str:
    if isinstance(value, _ConvertsToList):
        value = value.tolist()
    if value is None or isinstance(value, float):
        return repr(value)
    return f"{_LONG_REPR.repr(value)} of type {type(value).__name__}"
