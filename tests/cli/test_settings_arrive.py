"""Every setting of every algorithm reaches the algorithm that is made from it, whatever classes it passes through."""

import operator
from dataclasses import MISSING, fields
from typing import Any

import pytest

from tests.agents.tiny import language_model, letter_task
from textgym.agents import TextGenVecEnv
from textgym.training.algorithms import ALGORITHMS
from textgym.training.run import algorithm_class
from textgym.training.settings import TrainSettings

# Where a setting is found that is no attribute of its own name.
PLACES = {
    "temperature": "policy.temperature",
    "top_p": "policy.top_p",
    "advantage_scale": "network.advantage_scale",
    "n_quantiles": "network.n_quantiles",
    "kl_coef": "kl_controller.coefficient",
    "kl_target": "kl_controller.target",
    "kl_horizon": "kl_controller.horizon",
}
OTHERS: dict[str, Any] = {"kl_target": 3.5, "target_kl": 0.07, "exploration": "reference", "baseline": "none"}
LEFT_ALONE = {"name", "learning_rate_end", "kl_coef_end", "reference"}


def changed(name: str, default: Any) -> Any:
    """Another value than the default, within the range."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, int) else 0.7 * default + 0.01


def found(model: Any, name: str) -> Any:
    """What the algorithm holds of a setting."""
    if name == "tokens_per_rollout":
        return model.train_freq.frequency if hasattr(model, "replay_buffer") else model.n_steps
    value = operator.attrgetter(PLACES.get(name, name))(model)
    return value(1.0) if callable(value) else value


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_setting_of_an_algorithm_arrives(name: str) -> None:
    kind = ALGORITHMS[name]
    values: dict[str, Any] = {}
    for declared in fields(kind):
        if declared.name not in LEFT_ALONE:
            assert declared.default is not MISSING
            values[declared.name] = changed(declared.name, declared.default)
            assert values[declared.name] != declared.default
    settings = kind(**values)
    arguments = settings.constructor_arguments()
    arguments["policy_kwargs"] = {**arguments["policy_kwargs"], "model": language_model()}
    env = TextGenVecEnv(1, letter_task(completions_per_prompt=kind.completions_per_prompt))
    model = algorithm_class(TrainSettings(algorithm=settings))("GPT2Policy", env, seed=0, device="cpu", **arguments)
    assert {one: found(model, one) for one in values} == pytest.approx(values)
