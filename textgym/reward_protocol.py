"""What the core knows of a reward: how to call it, and what it must give back.

A reward is any callable with the signature that TRL's users write::

    def reward(prompts: list[str], completions: list[str], **columns) -> list[float | None | list[float]]

It is called by keywords, so that it may leave out what it does not read (`def reward(completions, **columns)`).
`columns` holds the other columns of the prompt data, one value a completion, and besides `completion_ids` (the
generated token ids without the end-of-sequence token, one list a completion), `trainer_state` (None), `log_extra`
and `log_metric`. One entry of the result belongs to one completion: a number is its score; a list of numbers is a
reward for each token of `completion_ids`, whose sum is the score; None means that the reward does not apply to it.
An `async` function is a reward as well.
"""

import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

from textgym.reward_validation import RewardError, call_reward, read_numbers, read_scores, read_token_rewards
from textgym.shaping import ShapedReward

__all__ = [
    "Reward",
    "RewardError",
    "RewardResult",
    "RewardSpec",
    "Scores",
    "StepReward",
    "TermedReward",
    "evaluate_reward",
    "require_reward",
    "resolve_reward",
    "reward_name",
    "score_completions",
    "shaping_potentials",
    "step_rewards",
]

Scores: TypeAlias = Sequence[float | None | Sequence[float]]
Reward: TypeAlias = Callable[..., Scores] | Callable[..., Awaitable[Scores]]
RewardSpec: TypeAlias = Reward | str | Path | Mapping[str, Any] | Sequence[Any]


class RewardResult(NamedTuple):
    """The judgement on a batch of N completions.

    Attributes:
        scores: Score of each completion, length N; 0 where no term applies.
        terms: Each named term's unweighted value for each completion, None where it does not apply.
        token_rewards: Rewards of each completion's tokens where a term gave such, else None. Their sum is the part
            of the score that they account for; the rest of the score is paid at the last token.
        applies: Whether each score stands for something; None where it does if any term is there, and only then.
    """

    scores: list[float]
    terms: dict[str, list[float | None]]
    token_rewards: list[list[float] | None]
    applies: list[bool] | None = None

    def applies_to(self, index: int) -> bool:
        """Tell whether a completion's score stands for something, or is 0 because nothing applies to it."""
        return self._has_term(index) if self.applies is None else self.applies[index]

    def that_applies(self, applies: list[bool]) -> "RewardResult":
        """Return the same, with this `applies`, or None where that says as much."""
        is_usual = all(flag == self._has_term(index) for index, flag in enumerate(applies))
        return self._replace(applies=None if is_usual else applies)

    def _has_term(self, index: int) -> bool:
        return any(values[index] is not None for values in self.terms.values())


@runtime_checkable
class TermedReward(Protocol):
    """A reward that reports its terms by name, such as a weighted sum."""

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the same arguments as a call of the reward."""
        ...


@runtime_checkable
class StepReward(Protocol):
    """A reward that also pays at each step, for the text so far; the sum over steps comes on top of the score."""

    def prefix_rewards(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return one finite number for each of N completions as far as they are written."""
        ...


@runtime_checkable
class PotentialReward(Protocol):
    """A reward that says what an unfinished text promises, for potential-based shaping; others give its score."""

    def potentials(self, prompts: Sequence[str], prefixes: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return one finite number for each of N completions as far as they are written."""
        ...


def score_completions(
    reward: Reward,
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    completion_ids: Sequence[Sequence[int]],
) -> RewardResult:
    """Score a batch of N completions by one call of the reward, and check what it gives back.

    Args:
        reward: The reward, called as this module's first lines say. `log_extra` and `log_metric` accept what TRL's
            do, and discard it: a value to be logged is a term of its own, with weight 0.
        prompts: Prompt of each completion, length N.
        completions: The texts, length N.
        columns: The prompt data's other columns, each of length N.
        completion_ids: Token ids of each completion without the end-of-sequence token, length N.

    Returns:
        Scores, terms and token rewards; an empty batch gives an empty result, and the reward is not called.

    Raises:
        RewardError: If the reward raises (the cause is chained), returns another number of entries than N, or an
            entry that is not a finite number, None, or a list of one finite number per token.
        ValueError: If the arguments differ in length, or a column has the name of another argument.
    """
    if not prompts:
        return RewardResult([], {}, [])
    arguments = reward_arguments(prompts, completions, columns, completion_ids)
    return evaluate_reward(reward, list(prompts), list(completions), arguments)


def reward_arguments(
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    completion_ids: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Return the keyword arguments that a reward gets besides prompts and completions.

    Raises:
        ValueError: If the arguments differ in length, or a column has the name of another argument.
    """
    given = {"trainer_state": None, "log_extra": _discard, "log_metric": _discard}
    for name in columns:
        if name in given or name in ("prompts", "completions", "completion_ids", "self"):
            raise ValueError(
                f"The prompt data has a column {name!r}, but rewards get something else by that name. Rename it."
            )
    for name, values in {"completions": completions, "completion_ids": completion_ids, **columns}.items():
        if len(values) != len(prompts):
            raise ValueError(f"{name} must have one entry per prompt, got {len(values)} for {len(prompts)} prompts.")
    lists = {name: list(values) for name, values in columns.items()}
    token_ids = [list(ids) for ids in completion_ids]
    return {**lists, "completion_ids": token_ids, **given}


def evaluate_reward(
    reward: Reward, prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Any], name: str = ""
) -> RewardResult:
    """Score at least one completion by any reward, with nothing added to `columns`.

    Args:
        reward: A reward; one that reports its terms is asked for them, unless `name` is given.
        prompts: Prompt of each completion, length N.
        completions: The texts, length N.
        columns: Further keyword arguments of the reward.
        name: Name of the reward's only term; "" for its own name or terms.

    Raises:
        RewardError: As `score_completions`.
    """
    texts = {"prompts": prompts, "completions": completions}
    completion_ids = columns.get("completion_ids")
    candidate: object = reward
    if not name and getattr(candidate, "evaluate", None) is not None and isinstance(candidate, TermedReward):
        result = call_reward(candidate.evaluate, reward_name(reward), texts, columns)
        return _checked(result, reward_name(reward), prompts, completions, completion_ids)
    name = name or reward_name(reward)
    values = call_reward(reward, name, texts, columns)
    scores, token_rewards = read_scores(values, name, prompts, completions, completion_ids)
    return RewardResult([score or 0.0 for score in scores], {name: scores}, token_rewards)


def _checked(
    result: object,
    name: str,
    prompts: Sequence[str],
    completions: Sequence[str],
    completion_ids: Sequence[Sequence[int]] | None,
) -> RewardResult:
    if not isinstance(result, RewardResult):
        problem = f"evaluate() of reward {name!r} must return a RewardResult, got {type(result).__name__};"
        raise RewardError(f"{problem} the batch's first completion is:", prompts[0], completions[0])
    if not isinstance(result.terms, Mapping) or not all(isinstance(term, str) for term in result.terms):
        problem = f"evaluate() of reward {name!r} must give terms as a dict of names, got {result.terms!r};"
        raise RewardError(f"{problem} the batch's first completion is:", prompts[0], completions[0])
    if result.applies is not None and [type(flag) for flag in result.applies] != [bool] * len(prompts):
        problem = f"evaluate() of reward {name!r} must give applies as a list of N truths, got {result.applies!r};"
        raise RewardError(f"{problem} the batch's first completion is:", prompts[0], completions[0])
    return RewardResult(
        read_numbers(result.scores, name, prompts, completions),
        {term: read_scores(values, term, prompts, completions).scores for term, values in result.terms.items()},
        read_token_rewards(result.token_rewards, name, prompts, completions, completion_ids),
        result.applies,
    )


def evaluate_potential(
    reward: Reward, prompts: Sequence[str], prefixes: Sequence[str], columns: Mapping[str, Any]
) -> list[float]:
    """Return what each of N unfinished texts promises: the reward's own potential, or else its score.

    Args:
        reward: The reward.
        prompts: Prompt of each text, length N, at least 1.
        prefixes: The completions as far as they are written, length N.
        columns: Further keyword arguments of the reward, as for `evaluate_reward`.

    Raises:
        RewardError: If the reward raises (the cause is chained), or does not return N finite numbers.
    """
    candidate: object = reward
    if not isinstance(candidate, PotentialReward):
        return evaluate_reward(reward, prompts, prefixes, columns).scores
    texts = {"prompts": list(prompts), "prefixes": list(prefixes)}
    values = call_reward(candidate.potentials, reward_name(reward), texts, columns)
    return read_numbers(values, reward_name(reward), prompts, prefixes)


def shaping_potentials(
    reward: ShapedReward, prompts: Sequence[str], prefixes: Sequence[str], columns: Mapping[str, Any]
) -> list[float]:
    """Return what the part of a reward that asks for shaping promises for each of N unfinished texts.

    Args:
        reward: The reward.
        prompts: Prompt of each text, length N, at least 1.
        prefixes: The completions as far as they are written, length N.
        columns: Further keyword arguments of the reward, as for `evaluate_reward`.

    Raises:
        RewardError: If the reward raises (the cause is chained), or does not return N finite numbers.
    """
    texts = {"prompts": list(prompts), "prefixes": list(prefixes)}
    values = call_reward(reward.shaping_potentials, reward_name(reward), texts, columns)
    return read_numbers(values, reward_name(reward), prompts, prefixes)


def step_rewards(
    reward: StepReward, prompts: Sequence[str], prefixes: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> list[float]:
    """Return what a step reward pays for each of N completions as far as they are written.

    Args:
        reward: The reward.
        prompts: Prompt of each row, length N.
        prefixes: Text generated so far in each row, length N.
        columns: The prompt data's other columns, each of length N.

    Raises:
        RewardError: If the reward raises (the cause is chained), or does not return N finite numbers. The prefix is
            shown as the completion.
    """
    if not prompts:
        return []
    texts = {"prompts": list(prompts), "prefixes": list(prefixes)}
    values = call_reward(reward.prefix_rewards, reward_name(reward), texts, columns)
    return read_numbers(values, reward_name(reward), prompts, prefixes)


def resolve_reward(spec: RewardSpec) -> Reward:
    """Return the reward that is meant by an object, a name, a place, or a composition in plain data.

    Args:
        spec: A reward, or what `textgym.rewards.build_reward` takes: a registered name, `"module:attribute"`, the URL
            of a reward server, the folder or hub name of a model, or a composition of these.

    Raises:
        ValueError: If a name is unknown (with the nearest match), or a composition is not well formed.
        TypeError: If it is not a reward: not callable, a class, or a function without `**columns`.
    """
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, str | Mapping | Sequence):
        # By name, because the core knows rewards only by this protocol.
        spec = cast(Reward, importlib.import_module("textgym.rewards").build_reward(spec))
    require_reward(spec)
    return spec


def require_reward(reward: object) -> None:
    """Refuse what cannot be called as a reward.

    Raises:
        TypeError: If `reward` is not callable, is a class, or its signature, or that of its `prefix_rewards`, refuses
            the arguments of a reward.
    """
    if isinstance(reward, type):
        raise TypeError(f"A reward must be an object, got the class {reward.__name__}. Write {reward.__name__}(...).")
    if not callable(reward):
        raise TypeError(
            "A reward must be a function of (prompts, completions, **columns), a name or a composition, "
            f"got {reward!r} of type {type(reward).__name__}."
        )
    try:
        signature = inspect.signature(reward)
    except ValueError:  # some callables written in C tell nothing of their signature
        return
    names = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
    try:
        signature.bind_partial(**dict.fromkeys(names))
    except TypeError:
        raise TypeError(
            f"Reward {reward_name(reward)!r} must take (prompts, completions, **columns), "
            f"but its signature is {signature}. Add **columns to it."
        ) from None
    if isinstance(reward, StepReward):
        signature = inspect.signature(reward.prefix_rewards)
        completions = signature.parameters.get("completions")
        is_other = completions is not None and completions.default is completions.empty
        try:
            signature.bind_partial(**dict.fromkeys(("prompts", "prefixes")))
        except TypeError:
            is_other = True
        if is_other:
            raise TypeError(
                f"prefix_rewards of reward {reward_name(reward)!r} must take (prompts, prefixes, **columns), but its "
                f"signature is {signature}."
            )


def reward_name(reward: object) -> str:
    """Return a function's name, or the class name of any other object in snake case ("banned_words")."""
    name = getattr(reward, "__name__", "").strip("<>")
    return name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(reward).__name__).lower()


def _discard(name: str, value: object) -> None:
    """Stand for TRL's `log_extra(column, values)` and `log_metric(name, value)`."""
