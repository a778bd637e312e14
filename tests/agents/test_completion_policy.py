"""A whole completion as one action: in our algorithms and in plain Stable-Baselines3."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

import textgym  # noqa: F401  (registers the ids)
from tests.agents.learning import answer_task, learn, linear_decline, small_model
from tests.agents.tiny import EOS, exactly, full_logits, language_model, letter_task, share_of_a
from tests.agents.twins import make_case, train_both
from textgym.agents import (
    A2C,
    DQN,
    NLPO,
    PPG,
    PPO,
    QRDQN,
    REINFORCE,
    TRPO,
    DoubleDQN,
    GPT2CompletionPolicy,
    MaskablePPO,
    TextGenVecEnv,
    evaluate,
)
from textgym.agents.completion_buffer import CompletionBuffer
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.completion import TextGenCompletionEnv, TextGenCompletionVectorEnv, completion_space
from textgym.env import observation_space
from textgym.rewards import PotentialShaping
from textgym.task import TextTask


def policy(task: TextTask, **arguments: Any) -> GPT2CompletionPolicy:
    arguments = {"model": language_model(), "eos_token_id": task.eos_token_id, **arguments}
    made = GPT2CompletionPolicy(observation_space(task), completion_space(task), lambda _: 1e-3, **arguments)
    torch.nn.init.normal_(made.value_net.weight)
    made.set_training_mode(False)
    return made


def prompts_of(task: TextTask, num_envs: int) -> dict[str, torch.Tensor]:
    observations, _ = TextGenCompletionVectorEnv(num_envs, task).reset(seed=0)
    return {key: torch.as_tensor(value) for key, value in observations.items()}


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "PPO": (PPO, stable_baselines3.PPO, {"gamma": 0.9, "gae_lambda": 0.8, "n_epochs": 3}),
    "PPO_minibatches": (
        PPO, stable_baselines3.PPO,
        {"gamma": 1.0, "gae_lambda": 0.95, "n_epochs": 2, "clip_range_vf": 0.1, "ours_alone": {"batch_size": 40}},
    ),
    "A2C": (A2C, stable_baselines3.A2C, {"gamma": 1.0, "gae_lambda": 0.95, "use_rms_prop": False}),
    "REINFORCE": (
        REINFORCE, stable_baselines3.A2C,
        {"ours_alone": {"baseline": "none"}, "plain_alone": {"vf_coef": 0.0, "use_rms_prop": False}},
    ),
}  # fmt: skip


@pytest.mark.equality
@pytest.mark.parametrize(("ours", "plain", "settings"), CASES.values(), ids=CASES)
def test_an_update_equals_plain_sb3_with_the_same_completions(ours: Any, plain: Any, settings: dict[str, Any]) -> None:
    """One transition an episode; without a baseline, plain A2C with a critic of 0 is REINFORCE."""
    case = make_case(
        letter_task(prompt_order="sequential", min_new_tokens=2), ours, plain, by_completion=True, **settings
    )
    buffer: Any = case.plain.rollout_buffer
    assert len(buffer.rewards) == len(case.ours.rollout_buffer.lengths)
    if ours is REINFORCE:
        buffer.advantages = buffer.rewards.copy()
    else:
        np.testing.assert_allclose(case.ours.rollout_buffer.values, buffer.values.flatten(), atol=1e-5)
    assert train_both(case) <= 1


def gradient(kind: str, env: Any, **settings: Any) -> tuple[dict[str, torch.Tensor], REINFORCE]:
    """Return the gradient of one update, which a step of plain gradient descent at rate 1 is."""
    kwargs = {"model": language_model(), "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    model = REINFORCE(
        kind, env, n_steps=40, learning_rate=1.0, max_grad_norm=1e9, policy_kwargs=kwargs, kl_coef=0.3,
        reference=language_model(seed=3), seed=0, device="cpu", **settings,
    )  # fmt: skip
    before = {name: tensor.clone() for name, tensor in model.policy.named_parameters()}
    model.learn(1)
    return {name: before[name] - tensor for name, tensor in model.policy.named_parameters()}, model


@pytest.mark.parametrize("settings", [{"baseline": "leave_one_out"}, {"baseline": "none", "ent_coef": 0.1}])
def test_gradients_of_reinforce_on_both_levels_are_proportional_by_the_mean_length(settings: dict[str, Any]) -> None:
    """The same episodes, with KL to another model in the rewards."""
    task = letter_task(completions_per_prompt=3)
    by_token, first = gradient("GPT2Policy", TextGenVecEnv(3, task), **settings)
    by_completion, second = gradient("GPT2CompletionPolicy", TextGenCompletionVectorEnv(3, task), **settings)
    assert torch.equal(first.rollout_buffer.token_ids, second.rollout_buffer.token_ids)
    lengths = second.rollout_buffer.lengths
    assert len(set(lengths.tolist())) > 2
    for name, expected in by_token.items():
        torch.testing.assert_close(by_completion[name], expected * lengths.mean(), rtol=1e-4, atol=1e-5)
    assert max(float(tensor.detach().abs().max()) for tensor in by_token.values()) > 0.1


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("settings", [{}, {"critic": "separate"}, {"autocast": "bfloat16"}])
def test_what_forward_says_of_its_completions_is_what_evaluation_says(
    deterministic: bool, settings: dict[str, Any]
) -> None:
    task = letter_task(min_new_tokens=2, banned_token_ids=[1])
    network = policy(task, temperature=0.7, **settings)
    obs = prompts_of(task, 40)
    with torch.no_grad():
        actions, values, log_prob = network(obs, deterministic=deterministic)
        again_values, again, entropy = network.evaluate_actions(obs, actions)
    assert actions.shape == (40, 8)
    torch.testing.assert_close(again, log_prob, atol=1e-4, rtol=0)
    torch.testing.assert_close(again_values, values, atol=1e-4, rtol=0)
    assert values.abs().min() > 0
    assert values.shape == network.predict_values(obs).shape == (40, 1)
    assert entropy.shape == (40,)
    for action in actions.tolist():
        length = action.index(EOS) if EOS in action else 8
        assert set(action[length:]) <= {EOS}


def test_the_log_probability_and_the_entropy_are_sums_over_the_tokens() -> None:
    """Against the language model's own logits, one context at a time; behind the end nothing counts."""
    task = letter_task()
    network = policy(task)
    prompt = task.prompts[1].token_ids
    obs = {key: torch.as_tensor(value)[None] for key, value in _observation(task, 1).items()}
    for tokens in ([3, 0, EOS], [5] * 8):
        expected, entropy = 0.0, 0.0
        for length, token in enumerate(tokens):
            log_probs = full_logits(network, [*prompt, *tokens[:length]]).log_softmax(dim=0)
            expected += float(log_probs[token])
            entropy -= float((log_probs.exp() * log_probs).sum())
        for behind in (EOS, 2):
            action = torch.tensor([tokens + [behind] * (8 - len(tokens))])
            _, log_prob, summed = network.evaluate_actions(obs, action)
            assert float(log_prob.detach()) == pytest.approx(expected, abs=1e-4)
            assert float(summed.detach()) == pytest.approx(entropy, abs=1e-4)


def _observation(task: TextTask, prompt: int) -> dict[str, np.ndarray]:
    env = TextGenCompletionEnv(letter_task(prompts=[task.prompts[prompt].text]))
    return env.reset(seed=0)[0]


def test_predict_gives_one_completion_or_several() -> None:
    task = letter_task()
    model = PPO("GPT2CompletionPolicy", TextGenCompletionEnv(task), policy_kwargs={"model": language_model()}, seed=0)
    env = TextGenCompletionEnv(task)
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert action.shape == (8,)
    assert env.action_space.contains(action)
    _, _, terminated, _, info = env.step(action)
    assert terminated
    assert info["n_tokens"] == (action.tolist().index(EOS) + 1 if EOS in action else 8)
    several = TextGenCompletionVectorEnv(5, task).reset(seed=0)[0]
    assert model.predict(several)[0].shape == (5, 8)
    top, _ = model.predict(several, top_k=1)
    np.testing.assert_array_equal(top, model.predict(several, deterministic=True)[0])


def test_predicting_greedily_is_what_generation_does() -> None:
    """On both levels the episodes are decoded alike."""
    task = letter_task(prompt_order="sequential")
    model = PPO("GPT2CompletionPolicy", TextGenCompletionEnv(task), policy_kwargs={"model": language_model()}, seed=0)
    same = PPO("GPT2Policy", TextGenVecEnv(1, task), policy_kwargs={"model": language_model()}, seed=0)
    texts = [[item.episode.text for item in evaluate(each, task, 8).episodes] for each in (model, same)]
    assert texts[0] == texts[1]


ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "PPO": (PPO, {"batch_size": 40, "n_epochs": 2}),
    "A2C": (A2C, {"self_imitation": 0.3}),
    "REINFORCE": (REINFORCE, {"baseline": "leave_one_out"}),
}


@pytest.mark.parametrize(("kind", "settings"), ALGORITHMS.values(), ids=ALGORITHMS)
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, kind: Any, settings: dict[str, Any]) -> None:
    language_model().save_pretrained(tmp_path / "model")
    task = letter_task(completions_per_prompt=2)
    kwargs = {"model": str(tmp_path / "model")}
    settings = {"n_steps": 20, "seed": 0, "device": "cpu", "learning_rate": 1e-3, "policy_kwargs": kwargs, **settings}
    whole, stopped = (kind("GPT2CompletionPolicy", TextGenCompletionVectorEnv(4, task), **settings) for _ in range(2))
    whole.learn(100)
    whole.learn(100, reset_num_timesteps=False)
    stopped.learn(100)
    stopped.save(tmp_path / "saved.zip")
    resumed = kind.load(tmp_path / "saved.zip", env=TextGenCompletionVectorEnv(4, task), device="cpu")
    resumed.learn(100, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    states = [model.policy.state_dict() for model in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_id_is_enough() -> None:
    gym.register("LetterCompletion-v0", entry_point="tests.agents.test_completion_policy:make_letter_env")
    try:
        model = A2C(
            "GPT2CompletionPolicy", "LetterCompletion-v0", n_steps=40, policy_kwargs={"model": language_model()}
        )
        assert model.learn(1).num_timesteps > 20
    finally:
        del gym.registry["LetterCompletion-v0"]


def make_letter_env(render_mode: str | None = None) -> TextGenCompletionEnv:
    return TextGenCompletionEnv(letter_task(), render_mode=render_mode)


LEARNERS: dict[str, tuple[Callable[..., BaseAlgorithm], dict[str, Any], int]] = {
    "PPO": (PPO, {"n_steps": 32, "batch_size": 512, "n_epochs": 4, "clip_range": 0.3}, 1),
    "A2C": (A2C, {"n_steps": 8, "ent_coef": 0.05}, 1),
    "REINFORCE": (REINFORCE, {"n_steps": 8, "ent_coef": 0.05, "baseline": "leave_one_out"}, 4),
}


@pytest.mark.parametrize(("kind", "settings", "group_size"), LEARNERS.values(), ids=LEARNERS)
def test_it_learns_three_tokens_that_depend_on_the_prompt(
    kind: Callable[..., BaseAlgorithm], settings: dict[str, Any], group_size: int
) -> None:
    """The optimum is 1; random and untrained policies score 0.07."""
    task = answer_task(completions_per_prompt=group_size)

    def make(seed: int) -> BaseAlgorithm:
        return kind(
            "GPT2CompletionPolicy", TextGenCompletionVectorEnv(16, task), policy_kwargs={"model": small_model()},
            learning_rate=linear_decline, kl_coef=0.001, seed=seed, device="cpu", **settings,
        )  # fmt: skip

    assert evaluate(make(0), task, 400).score <= 0.3
    held_out = answer_task(prompt_order="sequential")
    model = learn(make, held_out)
    assert evaluate(model, held_out, 400, seed=1).score >= 0.9


def test_it_learns_inside_plain_sb3() -> None:
    """One letter that depends on the prompt; 4,000 completions, from 0.07 of 1."""
    task = answer_task(1)

    def make(seed: int) -> BaseAlgorithm:
        env = DummyVecEnv([lambda: TextGenCompletionEnv(task)] * 16)
        return stable_baselines3.PPO(
            GPT2CompletionPolicy, env, n_steps=16, batch_size=256, n_epochs=4, gamma=1.0, seed=seed,
            learning_rate=linear_decline, policy_kwargs={"model": small_model(), "eos_token_id": EOS}, device="cpu",
        )  # fmt: skip

    model = learn(make, task, n_tokens=10_000)
    assert evaluate(model, task, 400, seed=1).score >= 0.9


@pytest.mark.parametrize("lengths", [[1, 8, 1, 8, 1], [8] * 6, [1] * 9, [3, 3], [8, 1, 1, 1, 1, 1, 1, 1]])
@pytest.mark.parametrize("batch_size", [2, 9, 20])
def test_every_minibatch_has_two_completions_and_each_comes_once(lengths: list[int], batch_size: int) -> None:
    """For one advantage alone has no standard deviation."""
    task = letter_task()
    buffer = CompletionBuffer(8, observation_space(task), completion_space(task), "cpu")
    zeros = [torch.zeros(length) for length in lengths]
    buffer.fill(
        [
            EpisodeRecord([1], [2] * len(empty), empty + 1, empty + number, empty - number)
            for number, empty in enumerate(zeros)
        ]
    )
    buffer.estimate_returns()
    for _ in range(10):
        batches = list(buffer.get(batch_size))
        assert min(len(batch.old_values) for batch in batches) >= 2
        values = torch.cat([batch.old_values for batch in batches])
        assert sorted(values.tolist()) == list(range(len(lengths)))
        for batch in batches:
            sizes = torch.tensor([lengths[int(value)] for value in batch.old_values], dtype=torch.float32)
            torch.testing.assert_close(batch.old_log_prob, -batch.old_values * sizes)
            torch.testing.assert_close(batch.advantages, sizes - batch.old_values)
            torch.testing.assert_close(batch.returns, sizes)


def test_spaces_of_the_other_environment_are_an_error() -> None:
    message = (
        "GPT2CompletionPolicy needs the spaces of TextGenCompletion-v0, whose actions are MultiDiscrete, got "
        "Discrete(12); for TextGen-v0 use GPT2Policy."
    )
    with pytest.raises(TypeError, match=exactly(message)):
        GPT2CompletionPolicy(observation_space(letter_task()), spaces.Discrete(12), lambda _: 1e-3)


def test_there_is_no_distribution_object() -> None:
    task = letter_task()
    message = (
        "GPT2CompletionPolicy has no distribution object over whole completions; evaluate_actions gives the "
        "log-probabilities of given ones. Algorithms that need one work on TextGen-v0 with GPT2Policy."
    )
    with pytest.raises(NotImplementedError, match=exactly(message)):
        policy(task).get_distribution(prompts_of(task, 1))


def test_an_observation_that_is_no_dict_is_an_error() -> None:
    message = "GPT2CompletionPolicy needs the Dict observation of TextGenCompletion-v0, got a tensor."
    network = policy(letter_task())
    with pytest.raises(TypeError, match=exactly(message)):
        network(torch.zeros(1, 13))
    with pytest.raises(TypeError, match=exactly(message)):
        network.evaluate_actions(torch.zeros(1, 13), torch.zeros(1, 8))


@pytest.mark.parametrize("kind", [PPO, A2C, REINFORCE])
def test_a_policy_of_tokens_is_told_which_one_is_meant(kind: Any) -> None:
    message = (
        "GPT2Policy chooses token by token; on TextGenCompletion-v0, where an action is a whole completion, use "
        "'GPT2CompletionPolicy', or make TextGen-v0."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        kind("GPT2Policy", TextGenCompletionVectorEnv(2, letter_task()))


@pytest.mark.parametrize("kind", [TRPO, MaskablePPO, NLPO, PPG, DQN, DoubleDQN, QRDQN])
def test_algorithms_that_need_single_tokens_say_so(kind: Any) -> None:
    message = (
        f"{kind.__name__} chooses token by token, so it needs TextGen-v0; on TextGenCompletion-v0, where an action is "
        "a whole completion, PPO, A2C, REINFORCE, RLOO and GRPO work."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        kind("GPT2Policy", TextGenCompletionEnv(letter_task()))


def test_shaping_single_tokens_of_one_action_is_refused(tmp_path: Path) -> None:
    message = (
        "potential_shaping pays single tokens, and on TextGenCompletion-v0 a whole completion is one action; leave it "
        "out, or make TextGen-v0."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        PPO("GPT2CompletionPolicy", TextGenCompletionEnv(letter_task()), potential_shaping=True)
    env = TextGenCompletionEnv(letter_task())
    PPO("GPT2CompletionPolicy", env, policy_kwargs={"model": language_model()}).save(tmp_path / "saved.zip")
    with pytest.raises(ValueError, match=exactly(message)):
        PPO.load(tmp_path / "saved.zip", env=env, potential_shaping=True)


def test_a_shaped_reward_is_learned_from_as_the_environment_pays_it() -> None:
    """At a gamma below 1 the shaped rewards of a completion's tokens would sum to less the better it is."""
    returns = []
    rewards: list[Any] = [share_of_a, PotentialShaping(share_of_a, 0.5)]
    for reward in rewards:
        env: Any = TextGenCompletionVectorEnv(2, letter_task(reward=reward))
        kwargs = {"model": language_model()}
        model = PPO("GPT2CompletionPolicy", env, n_steps=20, gamma=0.5, kl_coef=0, seed=0, policy_kwargs=kwargs)
        model.learn(10)
        returns.append(model.rollout_buffer.target_returns)
    assert torch.equal(*returns)
    assert len(returns[0].unique()) > 2
