"""What `textgym reward-model` is given: feedback, a kind of model with its settings, and changes of texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .reward_report import say

if TYPE_CHECKING:
    from textgym.rewards.learned import Counterfactual, Feedback, RewardModel


def make_model(kind: str, arguments: dict[str, Any], ensemble: int | None, pessimism: float) -> "RewardModel":
    """Make a reward model of a kind, or an ensemble of some.

    Raises:
        ValueError: If kind or arguments are wrong, or a package is missing.
    """
    from textgym.rewards.learned import make_ensemble, make_reward_model

    if ensemble is None:
        if pessimism:
            raise ValueError("--pessimism needs an ensemble; give --ensemble as well.")
        return make_reward_model(kind, **arguments)
    return make_ensemble(kind, ensemble, pessimism, **arguments)


def read_data(data: Path, columns: list[str], only: list[str], skip_bad_rows: bool) -> "Feedback":
    """Read feedback, and say how much of it there is.

    Raises:
        ValueError: If rows or columns cannot be used.
    """
    from textgym.rewards.learned import read_feedback
    from textgym.rewards.learned.reading import summarise_bad_rows

    feedback = read_feedback(
        data,
        columns=read_pairs(columns, "--column"),
        only=read_pairs(only, "--only"),
        bad_rows="skip" if skip_bad_rows else "refuse",
    )
    line = f"{len(feedback.ratings):,} rated completions, {len(feedback.preferences):,} preferences"
    if feedback.n_repeated:
        line += f"; rows that repeat others: {feedback.n_repeated:,}"
    say(line)
    if feedback.bad_rows:
        summary, *lines = summarise_bad_rows(feedback.bad_rows)
        say(f"rows skipped: {summary}")
        for one in lines:
            say(f"  {one}")
    return feedback


def tell_what_is_not_used(model: "RewardModel", feedback: "Feedback") -> None:
    """Say which feedback a kind of model does not learn from."""
    if feedback.ratings and feedback.preferences and not model.learns_from_preferences:
        say(f"preferences that this kind of model does not learn from: {len(feedback.preferences):,}")
    comments = [one.comment for one in feedback.ratings] + [one.comment for one in feedback.preferences]
    n_comments = sum(map(bool, comments))
    if n_comments and not model.reads_comments:
        say(f"texts with comments, which this kind of model does not read: {n_comments:,}")


def read_rater_weights(given: list[str]) -> dict[str, float]:
    """Read RATER=WEIGHT.

    Raises:
        ValueError: If it is something else.
    """
    return {name: _number(value) for name, value in read_pairs(given, "--rater-weight").items()}


def read_change(text: str) -> "Counterfactual":
    """Read a counterfactual in YAML.

    Raises:
        ValueError: If it is none.
    """
    import yaml

    from textgym.rewards.learned import read_counterfactual
    from textgym.yaml_values import read_yaml

    try:
        return read_counterfactual(read_yaml(text))
    except yaml.YAMLError as error:
        raise ValueError(
            f"--augment must be YAML such as 'exchange: gender', got {text!r} ({_one_line(error)})."
        ) from error


def read_settings(given: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE, the values in YAML.

    Raises:
        ValueError: If it is something else.
    """
    import yaml

    from textgym.yaml_values import read_yaml

    settings = {}
    for name, text in read_pairs(given, "--set").items():
        try:
            settings[name.replace("-", "_")] = read_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {name} must have a value in YAML, got {text!r} ({_one_line(error)}).") from error
    return settings


def read_pairs(given: list[str], flag: str) -> dict[str, str]:
    """Read NAME=VALUE.

    Raises:
        ValueError: If it is something else, or a name has two values.
    """
    for one in given:
        if "=" not in one:
            raise ValueError(f"{flag} must be NAME=VALUE, got {one!r}.")
    pairs: dict[str, str] = {}
    for name, value in (one.split("=", 1) for one in given):
        if pairs.setdefault(name, value) != value:
            raise ValueError(f"{flag} {name} must be given once, got {pairs[name]!r} and {value!r}.")
    return pairs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--rater-weight must be RATER=NUMBER, got {text!r}.") from None
