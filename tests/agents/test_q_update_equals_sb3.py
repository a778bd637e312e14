"""One update of a value-based algorithm equals plain Stable-Baselines3's or sb3-contrib's on the same transitions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch

from tests.agents.q_twins import QCase, generated_tokens, logged_loss, make_q_case, train_both
from tests.agents.tiny import gpt2_config, letter_task, llama_config, share_of_a, single_context
from textgym.agents import DQN, QRDQN, DoubleDQN
from textgym.agents.episode_replay import EpisodeReplay
from textgym.task import TextTask

pytestmark = [pytest.mark.equality, pytest.mark.usefixtures("way")]

PAIRS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "dqn": (DQN, stable_baselines3.DQN, {"advantage_scale": 0.5}),
    "qrdqn": (QRDQN, sb3_contrib.QRDQN, {"advantage_scale": 0.5, "n_quantiles": 5}),
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "half_explored": ({}, {"exploration_initial_eps": 0.5}),
    "uniformly_explored": ({}, {"exploration": "uniform"}),
    "banned_tokens": ({"banned_token_ids": [0, 4, 5]}, {}),
    "min_new_tokens": ({"min_new_tokens": 3}, {"policy_kwargs": {"advantage_scale": 2.0}}),
    "a_llama": ({"min_new_tokens": 2, "banned_token_ids": [3]}, {"config": llama_config()}),
    "dropout_in_its_configuration": ({}, {"config": gpt2_config(attn_pdrop=0.3, embd_pdrop=0.3, resid_pdrop=0.3)}),
}


def task_of(**arguments: Any) -> TextTask:
    return letter_task(prompt_order="sequential", **arguments)


def make_case(pair: str, task: TextTask, **settings: Any) -> QCase:
    ours, plain, policy_kwargs = PAIRS[pair]
    return make_q_case(
        task, ours, plain, policy_kwargs={**policy_kwargs, **settings.pop("policy_kwargs", {})}, **settings
    )


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("arguments", "settings"), CASES.values(), ids=CASES)
def test_loss_gradient_and_parameters_equal_plain_sb3(
    pair: str, arguments: dict[str, Any], settings: dict[str, Any]
) -> None:
    case = make_case(pair, task_of(**arguments), **settings)
    assert train_both(case) <= 1
    assert logged_loss(case.ours) == pytest.approx(logged_loss(case.plain), rel=1e-5)
    theirs = dict(case.plain.policy.named_parameters())
    for name, parameter in case.ours.policy.named_parameters():
        if "target" not in name:
            assert parameter.grad is not None, name
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("pair", PAIRS)
def test_several_minibatches_equal_plain_sb3(pair: str) -> None:
    case = make_case(pair, task_of(), batch_size=17)
    assert train_both(case, gradient_steps=4) <= 1
    assert logged_loss(case.ours) == pytest.approx(logged_loss(case.plain), rel=1e-4)


def test_the_single_contexts_are_those_of_the_document() -> None:
    """The plain side's observations, written out by hand from the environment's docstring."""
    task = task_of()
    case = make_case("dqn", task)
    buffer: Any = case.plain.replay_buffer
    row = 0
    for number, tokens in enumerate(generated_tokens(case.replay)):
        prompt = task.prompts[number % len(task.prompts)].token_ids
        for step in range(len(tokens)):
            for key, array in single_context(task, prompt, tokens[:step]).items():
                np.testing.assert_array_equal(buffer.observations[key][row, 0], array)
            for key, array in single_context(task, prompt, tokens[: step + 1]).items():
                np.testing.assert_array_equal(buffer.next_observations[key][row, 0], array)
            row += 1
    assert row == case.replay.n_tokens


def changed(replay: EpisodeReplay, change: Callable[[Any], Any]) -> None:
    sample = replay.sample
    replay.sample = lambda batch_size, env=None: change(sample(batch_size, env))  # type: ignore[method-assign]


def same_state_after(samples: Any) -> Any:
    """Read the target's value at the state before the token."""
    return samples._replace(next_observations=samples.observations)


def tenth_of_a(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    """Pay a tenth of `share_of_a`."""
    return [0.1 * score for score in share_of_a(prompts, completions)]


def endless(samples: Any) -> Any:
    """Let episodes go on after their end."""
    return samples._replace(dones=torch.zeros_like(samples.dones))


def later_rewards(samples: Any) -> Any:
    """Give each token the reward of the one before it."""
    return samples._replace(rewards=samples.rewards.roll(1, dims=0))


def later_actions(samples: Any) -> Any:
    """Take each token for the one before it."""
    return samples._replace(actions=samples.actions.roll(1, dims=0))


@pytest.mark.parametrize("mistake", [same_state_after, endless, later_rewards, later_actions])
def test_an_off_by_one_makes_the_comparison_fail(mistake: Callable[[Any], Any]) -> None:
    # Small rewards, because the gradient of the Huber loss is the same for all errors above 1.
    case = make_case("dqn", task_of(reward=tenth_of_a))
    changed(case.replay, mistake)
    assert train_both(case) > 10


def double_loss(model: DoubleDQN, task: TextTask, rows: list[tuple[int, list[int], int, float]]) -> float:
    """Compute the loss of transitions (prompt, tokens, step, reward) one by one, from plain single contexts."""
    losses = []
    for number, tokens, step, reward in rows:
        prompt = task.prompts[number].token_ids
        values = {}
        for name, network in (("online", model.policy.q_net), ("target", model.policy.q_net_target)):
            for when, length in (("before", step), ("after", step + 1)):
                context = single_context(task, prompt, tokens[:length])
                batch = {key: torch.as_tensor(array)[None] for key, array in context.items()}
                with torch.no_grad():
                    values[name, when] = network(batch)[0]
        is_end = step == len(tokens) - 1
        best = int(values["online", "after"].argmax())
        target = reward + (0.0 if is_end else model.gamma * float(values["target", "after"][best]))
        error = abs(float(values["online", "before"][tokens[step]]) - target)
        losses.append(0.5 * error**2 if error < 1 else error - 0.5)
    return float(np.mean(losses))


def test_double_dqn_reads_the_target_at_the_online_networks_best_token() -> None:
    """Its loss computed by hand, one context at a time; DQN's own loss on the same minibatch is another."""
    task = task_of(banned_token_ids=[2], min_new_tokens=2)
    losses = {}
    for kind in (DQN, DoubleDQN):
        case = make_q_case(task, kind, stable_baselines3.DQN, policy_kwargs={"advantage_scale": 0.5})
        model, replay = case.ours, case.replay
        drawn: list[tuple[np.ndarray, np.ndarray]] = []
        transitions = replay.transitions

        def watched(episodes: np.ndarray, selected: np.ndarray, drawn: Any = drawn, pack: Any = transitions) -> Any:
            drawn.append((episodes, selected))
            return pack(episodes, selected)

        replay.transitions = watched  # type: ignore[method-assign]
        tokens, starts = generated_tokens(replay), replay.lengths.cumsum() - replay.lengths
        before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        model.train(1, model.batch_size)
        losses[kind] = logged_loss(model)
        ((episodes, selected),) = drawn
        steps = [(int(item), step) for item in episodes for step in range(len(tokens[item]))]
        chosen = [steps[index] for index in selected]
        rows = [
            (item % len(task.prompts), tokens[item], step, float(replay.rewards[starts[item] + step]))
            for item, step in chosen
        ]
        model.policy.load_state_dict(before)
    assert isinstance(model, DoubleDQN)
    assert losses[DoubleDQN] == pytest.approx(double_loss(model, task, rows), rel=1e-5)
    assert abs(losses[DoubleDQN] - losses[DQN]) > 0.01 * losses[DQN]
