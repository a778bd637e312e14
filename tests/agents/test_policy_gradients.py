"""A2C, REINFORCE, RLOO and GRPO: what a run repeats and saves, what they log, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_task
from textgym.agents import A2C, GRPO, REINFORCE, RLOO, TextGenVecEnv
from textgym.agents.generation import generate_episodes
from textgym.rewards import as_reward
from textgym.task import TextTask

ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "A2C": (A2C, {}),
    "A2C_with_replay": (A2C, {"self_imitation": 0.5, "potential_shaping": True}),
    "REINFORCE": (REINFORCE, {}),
    "REINFORCE_none": (REINFORCE, {"baseline": "none"}),
    "RLOO": (RLOO, {}),
    "GRPO": (GRPO, {"n_epochs": 2, "batch_size": 30}),
}
each = pytest.mark.parametrize(("kind", "settings"), ALGORITHMS.values(), ids=ALGORITHMS)


def grouped_task() -> TextTask:
    return letter_task(completions_per_prompt=3)


def algorithm(kind: Any, task: TextTask | None = None, num_envs: int = 3, **settings: Any) -> Any:
    defaults: dict[str, Any] = {"n_steps": 20, "seed": 0, "device": "cpu", "learning_rate": 1e-3}
    defaults["policy_kwargs"] = {"model": language_model()}
    env = TextGenVecEnv(num_envs, grouped_task() if task is None else task)
    return kind("GPT2Policy", env, **{**defaults, **settings})


def assert_equal_weights(first: Any, second: Any) -> None:
    ours, theirs = first.policy.state_dict(), second.policy.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@each
def test_two_seeded_runs_are_equal_and_another_seed_is_not(kind: Any, settings: dict[str, Any]) -> None:
    first, second, other = (algorithm(kind, **{"seed": 5, **settings, **seed}) for seed in ({}, {}, {"seed": 6}))
    for model in (first, second, other):
        torch.rand(3)  # what happened before does not matter
        model.learn(150)
    assert_equal_weights(first, second)
    with pytest.raises(AssertionError):
        assert_equal_weights(first, other)


@each
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    tmp_path: Path, kind: Any, settings: dict[str, Any]
) -> None:
    language_model().save_pretrained(tmp_path / "model")
    settings = {**settings, "policy_kwargs": {"model": str(tmp_path / "model")}}
    whole = algorithm(kind, **settings)
    whole.learn(100)
    whole.learn(160, reset_num_timesteps=False)
    stopped = algorithm(kind, **settings)
    stopped.learn(100)
    stopped.save(tmp_path / "saved.zip")
    resumed = kind.load(tmp_path / "saved.zip", env=TextGenVecEnv(3, grouped_task()), device="cpu")
    texts = [
        [item.text for item in generate_episodes(each.policy, grouped_task(), range(9), seed=0)]
        for each in (stopped, resumed)
    ]
    assert texts[0] == texts[1]
    resumed.learn(160, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert_equal_weights(whole, resumed)


class Logged(BaseCallback):
    """Keeps the names of what is logged, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.n_rollouts = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.n_rollouts += 1
        # The last update's figures are still there.
        self.names |= set(self.logger.name_to_value)


@each
def test_a_critic_is_logged_where_there_is_one(kind: Any, settings: dict[str, Any]) -> None:
    logged = Logged()
    model = algorithm(kind, **settings).learn(150, callback=logged, log_interval=1000)
    assert logged.n_rollouts > 1
    assert {"rollout/score", "rollout/kl", "train/n_updates"} <= logged.names
    critic = {"train/value_loss", "train/explained_variance"}
    assert logged.names & critic == (critic if kind is A2C else set())
    assert model.vf_coef == (0.5 if kind is A2C else 0.0)


def test_each_rollout_is_logged_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    algorithm(A2C, verbose=1).learn(150)
    assert capsys.readouterr().out.count("rollout/ ") > 1


def test_a_rollout_is_one_step_of_a2c_and_several_of_grpo() -> None:
    steps = []
    kinds: list[tuple[Any, dict[str, Any]]] = [(A2C, {}), (GRPO, {"n_epochs": 3, "batch_size": 30})]
    for kind, settings in kinds:
        model = algorithm(kind, **settings)
        optimizer, count = model.policy.optimizer, [0]
        step = optimizer.step

        def watched(*arguments: Any, step: Any = step, count: list[int] = count) -> None:
            count[0] += 1
            step(*arguments)

        optimizer.step = watched
        model.learn(1)
        steps.append(count[0])
    assert steps[0] == 1
    assert steps[1] >= 6


def test_there_is_no_value_head_where_there_is_no_critic() -> None:
    for kind, settings in ALGORITHMS.values():
        model = algorithm(kind, **settings)
        assert model.policy.critic == ("shared" if kind is A2C else None)
        assert any("value" in name for name in model.policy.state_dict()) == (kind is A2C)


def test_the_moving_average_follows_the_returns_less_kl() -> None:
    model = algorithm(REINFORCE, kl_coef=0.5)
    average = None
    for _ in range(3):
        model.learn(1, reset_num_timesteps=False)
        buffer = model.rollout_buffer
        mean = float(buffer.rewards.sum()) / len(buffer.lengths)
        before = mean if average is None else average
        average = 0.8 * before + 0.2 * mean
        assert model.moving_average.value == pytest.approx(average, abs=1e-5)
        ends = buffer.lengths.cumsum() - 1
        assert float(buffer.advantages[ends].mean()) == pytest.approx(mean - before, abs=1e-5)


def test_every_token_of_a_completion_has_its_advantage_and_a_groups_advantages_cancel() -> None:
    model = algorithm(RLOO, kl_coef=0.5)
    model.learn(1)
    buffer = model.rollout_buffer
    advantages = [part.unique() for part in buffer.advantages.split(buffer.lengths.tolist())]
    assert all(len(part) == 1 for part in advantages)
    sums = torch.cat(advantages).view(-1, 3).sum(dim=1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), atol=1e-5, rtol=0)
    assert float(torch.cat(advantages).abs().max()) > 0.1


def test_groups_stay_whole_where_the_next_task_has_others() -> None:
    model = algorithm(RLOO, num_envs=1, n_steps=60)
    model.learn(1)
    model.set_env(TextGenVecEnv(1, letter_task(completions_per_prompt=4)))
    assert model.n_episodes_started % 4
    model.learn(1, reset_num_timesteps=False)
    buffer = model.rollout_buffer
    starts = (buffer.prompt_lengths + buffer.lengths).cumsum() - buffer.lengths - buffer.prompt_lengths
    prompts = [
        buffer.token_ids[start : start + length].tolist()
        for start, length in zip(starts, buffer.prompt_lengths, strict=True)
    ]
    assert all(
        len({tuple(prompt) for prompt in prompts[first : first + 4]}) == 1 for first in range(0, len(prompts), 4)
    )
    assert len({tuple(prompt) for prompt in prompts}) > 1


NEEDS_GROUPS = (
    "{} with the baseline {!r} compares the completions of one prompt, so completions_per_prompt must be at least 2, "
    "got 1; give the environment completions_per_prompt=4 or more."
)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (RLOO, {}, NEEDS_GROUPS.format("RLOO", "leave_one_out")),
        (GRPO, {}, NEEDS_GROUPS.format("GRPO", "group_normalized")),
        (REINFORCE, {"baseline": "group_normalized"}, NEEDS_GROUPS.format("REINFORCE", "group_normalized")),
        (
            REINFORCE,
            {"baseline": "mean"},
            "baseline must be one of ('none', 'moving_average', 'leave_one_out', 'group_normalized'), got 'mean'.",
        ),
        (
            REINFORCE,
            {"self_imitation": 0.2},
            (
                "self_imitation needs a critic, which expects what a replayed episode brings, and REINFORCE has none. "
                "Leave it out, or use PPO or A2C."
            ),
        ),
        (
            GRPO,
            {"potential_shaping": True},
            (
                "potential_shaping needs advantages of single tokens, and GRPO has none. Leave it out, or use PPO or "
                "A2C."
            ),
        ),
        (
            RLOO,
            {"policy_kwargs": {"model": gpt2_config(), "critic": "separate"}},
            "critic must be None with RLOO, which learns no values, got 'separate'; leave it out, or use PPO or A2C.",
        ),
        (
            GRPO,
            {"gamma": 0.9},
            (
                "gamma must be left out with GRPO: a completion is one decision, whose rewards are not discounted, and "
                "there is no critic. PPO and A2C take it."
            ),
        ),
        (
            GRPO,
            {"normalize_advantage": True},
            (
                "normalize_advantage must be left out with GRPO, whose advantages are in units of their group's "
                "standard deviation."
            ),
        ),
        (GRPO, {"batch_size": 1}, "batch_size must be at least 2 tokens, got 1."),
        (A2C, {"n_steps": 0}, "n_steps must be at least 1, got 0."),
    ],
)
def test_settings_that_make_no_sense_are_errors(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(kind, letter_task(), **settings)


def test_an_environment_without_groups_that_is_set_later_is_an_error() -> None:
    model = algorithm(RLOO)
    model.set_env(TextGenVecEnv(3, letter_task()))
    with pytest.raises(ValueError, match=exactly(NEEDS_GROUPS.format("RLOO", "leave_one_out"))):
        model.learn(1)


def test_a2c_may_use_rmsprop_as_in_sb3() -> None:
    assert isinstance(algorithm(A2C).policy.optimizer, torch.optim.Adam)
    model = algorithm(A2C, use_rms_prop=True, rms_prop_eps=1e-4)
    assert isinstance(model.policy.optimizer, torch.optim.RMSprop)
    assert model.policy.optimizer.defaults["eps"] == 1e-4
    assert isinstance(model, stable_baselines3.A2C)


def test_terms_of_a_reward_may_have_long_names_that_begin_alike(capsys: pytest.CaptureFixture[str]) -> None:
    def how_often_the_completion_has_the_letter_a(completions: list[str], **columns: object) -> list[float]:
        return [float(text.count("a")) for text in completions]

    first = as_reward(how_often_the_completion_has_the_letter_a)
    second = as_reward(first, name="how_often_the_completion_has_the_letter_a_again")
    algorithm(A2C, letter_task(reward=first + second), verbose=1).learn(30)
    table = capsys.readouterr().out
    assert all(f"reward/{name} " in table for name in ("how_often_the_completion_has_the_letter_a", second.name))
