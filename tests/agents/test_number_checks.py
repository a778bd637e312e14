"""Numbers that are none, or out of range, are refused where an algorithm is made and where it is loaded."""

from typing import Any

import numpy as np
import pytest

from tests.agents.tiny import exactly, language_model, letter_task
from textgym.agents import A2C, DQN, GRPO, NLPO, PPG, PPO, QRDQN, TRPO, TextGenVecEnv


def algorithm(kind: Any, **settings: Any) -> Any:
    env = TextGenVecEnv(2, letter_task(completions_per_prompt=2))
    return kind("GPT2Policy", env, **{"policy_kwargs": {"model": language_model()}, "device": "cpu", **settings})


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        (PPO, {"gamma": 2.0}, ValueError, "gamma must be at least 0 and at most 1, got 2.0."),
        (PPO, {"n_epochs": 0}, ValueError, "n_epochs must be at least 1, got 0."),
        (PPO, {"batch_size": 20.5}, TypeError, "batch_size must be a whole number, got 20.5."),
        (PPO, {"n_steps": 20.5}, TypeError, "n_steps must be a whole number or None, got 20.5."),
        (
            PPO,
            {"kl_coef": "a"},
            TypeError,
            "kl_coef must be a number or a function of the remaining progress, got 'a'.",
        ),
        (PPO, {"ent_coef": float("nan")}, ValueError, "ent_coef must be finite, got nan."),
        (PPO, {"self_imitation": 2}, ValueError, "self_imitation must be at least 0 and at most 1, got 2."),
        (
            A2C,
            {"learning_rate": "1e-4"},
            TypeError,
            "learning_rate must be a number or a function of the remaining progress, got '1e-4'.",
        ),
        (A2C, {"learning_rate": -1.0}, ValueError, "learning_rate must be at least 0, got -1.0."),
        (A2C, {"seed": -1}, ValueError, "seed must be at least 0 and at most 4294967295, got -1."),
        (GRPO, {"clip_range": 0}, ValueError, "clip_range must be above 0, got 0."),
        (TRPO, {"cg_max_steps": 0}, ValueError, "cg_max_steps must be at least 1, got 0."),
        (TRPO, {"target_kl": 0}, ValueError, "target_kl must be above 0, got 0."),
        (DQN, {"tau": 0}, ValueError, "tau must be above 0 and at most 1, got 0."),
        (DQN, {"exploration_fraction": 2}, ValueError, "exploration_fraction must be at least 0 and at most 1, got 2."),
        (PPO, {"potential_shaping": "yes"}, TypeError, "potential_shaping must be True or False, got 'yes'."),
        (DQN, {"potential_shaping": 1}, TypeError, "potential_shaping must be True or False, got 1."),
        (TRPO, {"normalize_advantage": 3}, TypeError, "normalize_advantage must be True or False, got 3."),
        (
            PPO,
            {"device": "cudaa"},
            ValueError,
            "device must be 'auto', 'cpu', 'cuda' or another of torch's devices, got 'cudaa'.",
        ),
        (QRDQN, {"max_grad_norm": True}, TypeError, "max_grad_norm must be a number, got True."),
        (PPG, {"n_policy_iterations": 2.5}, TypeError, "n_policy_iterations must be a whole number, got 2.5."),
        (PPG, {"beta_clone": float("nan")}, ValueError, "beta_clone must be at least 0, got nan."),
        (NLPO, {"mask_update_interval": 1.5}, TypeError, "mask_update_interval must be a whole number, got 1.5."),
        (NLPO, {"top_p": "x"}, TypeError, "top_p must be a number, got 'x'."),
        (TRPO, {"curvature_share": "x"}, TypeError, "curvature_share must be a number, got 'x'."),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(
    kind: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=exactly(message)):
        algorithm(kind, **settings)


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        (PPO, {"temperature": float("nan")}, ValueError, "temperature must be above 0, got nan."),
        (PPO, {"temperature": "x"}, TypeError, "temperature must be a number, got 'x'."),
        (PPO, {"frozen_layers": 1.5}, TypeError, "frozen_layers must be a whole number, got 1.5."),
        (PPO, {"micro_batch_size": 2.5}, TypeError, "micro_batch_size must be a whole number or None, got 2.5."),
        (DQN, {"advantage_scale": float("nan")}, ValueError, "advantage_scale must be above 0, got nan."),
        (QRDQN, {"n_quantiles": 2.5}, TypeError, "n_quantiles must be a whole number, got 2.5."),
    ],
)
def test_so_is_a_number_of_the_policy(
    kind: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=exactly(message)):
        algorithm(kind, policy_kwargs={"model": language_model(), **settings})


def test_numpys_numbers_and_schedules_are_taken() -> None:
    def decline(progress_remaining: float) -> float:
        return 1e-3 * progress_remaining

    model = algorithm(PPO, n_steps=np.int64(20), gamma=np.float32(0.5), learning_rate=decline, clip_range=decline)
    assert model.n_steps == 20
    assert model.lr_schedule(0.5) == 5e-4


def test_a_number_given_to_load_is_looked_at_too(tmp_path: Any) -> None:
    algorithm(DQN).save(tmp_path / "saved.zip")
    with pytest.raises(TypeError, match=exactly("DQN.load: max_grad_norm must be a number, got 'x'.")):
        DQN.load(tmp_path / "saved.zip", max_grad_norm="x")


@pytest.mark.parametrize(
    ("kind", "arguments", "hint"),
    [
        (PPO, {"learn_rate": 1}, " Did you mean 'learning_rate'?"),
        (GRPO, {"completions_per_prompt": 2}, " It is the environment's; give it where that is made."),
        (GRPO, {"lora": 8}, " It is the policy's: policy_kwargs=dict(lora=…)."),
        (DQN, {"buffersize": 9}, " Did you mean 'buffer_size'?"),
        (TRPO, {"colour": 1}, ""),
    ],
)
def test_an_argument_that_there_is_not_is_named_with_the_class_that_was_called(
    kind: Any, arguments: dict[str, Any], hint: str
) -> None:
    env = TextGenVecEnv(2, letter_task(completions_per_prompt=2))
    ((name, _),) = arguments.items()
    with pytest.raises(TypeError, match=exactly(f"{kind.__name__} has no argument {name!r}.{hint}")):
        kind("GPT2Policy", env, **arguments)
