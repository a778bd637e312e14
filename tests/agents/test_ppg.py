"""PPG: its policy phase is PPO, and its auxiliary phase teaches the trunk what the values are and nothing else."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import configure

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_task, waken_critic
from tests.agents.twins import collect, generated_tokens, make_case, train_both
from textgym.agents import PPG, PhasicPolicy, TextGenVecEnv
from textgym.agents.finite_updates import NonFiniteError
from textgym.agents.reference import frozen_copy


def algorithm(**settings: Any) -> PPG:
    defaults = {"n_steps": 30, "n_epochs": 1, "batch_size": 40, "seed": 0, "device": "cpu", "learning_rate": 1e-3}
    env = TextGenVecEnv(3, letter_task(prompt_order="sequential"))
    model = PPG("GPT2Policy", env, **{**defaults, "policy_kwargs": {"model": language_model()}, **settings})
    waken_critic(model.policy)
    model.set_logger(configure(None, []))
    return model


@pytest.mark.equality
@pytest.mark.parametrize("settings", [{}, {"clip_range_vf": 0.05, "normalize_advantage": False}])
def test_the_policy_phase_equals_plain_sb3s_ppo(settings: dict[str, Any]) -> None:
    case = make_case(
        letter_task(prompt_order="sequential"), PPG, stable_baselines3.PPO, plain_policy=PhasicPolicy,
        gamma=0.95, gae_lambda=0.9, n_epochs=4, ours_alone={"batch_size": 40}, **settings,
    )  # fmt: skip
    assert train_both(case) <= 1


def test_values_shape_the_trunk_in_the_auxiliary_phase_alone() -> None:
    model = algorithm()
    collect(model)
    batch = next(model.rollout_buffer.get(None))
    for is_auxiliary in (False, True):
        model.policy.is_auxiliary_phase = is_auxiliary
        model.policy.zero_grad()
        model.policy.evaluate_actions(batch.observations, batch.actions)[0].sum().backward()
        reached = [one.grad is not None for one in model.policy.language_model.base_model.parameters()]
        assert all(reached) if is_auxiliary else not any(reached)
        assert model.policy.value_net.weight.grad is not None


def test_the_auxiliary_losses_equal_those_computed_by_hand() -> None:
    """One context at a time, by the language models' plain forward passes and a sum over tokens."""
    model = algorithm()
    collect(model)
    old_policy = frozen_copy(model.policy)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    buffer = model.rollout_buffer
    squares: list[float] = []
    divergences: list[float] = []
    for number, generated in enumerate(generated_tokens(buffer)):
        prompt = list(model.task.prompts[number % len(model.task.prompts)].token_ids)
        for step in range(len(generated)):
            context = torch.tensor([prompt + generated[:step]])
            with torch.no_grad():
                output = model.policy.language_model(input_ids=context, output_hidden_states=True)
                value = float(model.policy.value_net(output.hidden_states[-1][0, -1]))
                old = torch.softmax(old_policy.language_model(input_ids=context).logits[0, -1].double(), dim=0)
            new = torch.softmax(output.logits[0, -1].double(), dim=0)
            divergences.append(sum(float(p * (p.log() - q.log())) for p, q in zip(old, new, strict=True)))
            squares.append((value - float(buffer.target_returns[len(squares)])) ** 2)
    observations: Any = buffer.samples(np.arange(len(buffer.lengths))).observations
    order = np.argsort(-(buffer.prompt_lengths + buffer.lengths), kind="stable")
    returns = buffer.target_returns[buffer.token_index(order)]
    value_loss, kl = model._auxiliary_losses(old_policy, observations, returns)
    assert value_loss.item() == pytest.approx(0.5 * np.mean(squares), rel=1e-4)
    assert kl.item() == pytest.approx(np.mean(divergences), rel=1e-3)
    assert kl.item() > 0.01


def test_the_clone_loss_keeps_the_policy_while_the_values_are_learned() -> None:
    """The same phase with and without it: the values come closer in both, the policy stays in one."""
    results = {}
    for beta_clone in (0.0, 30.0):
        model = algorithm(beta_clone=beta_clone, n_aux_epochs=20, learning_rate=5e-3, n_policy_iterations=2)
        collect(model)
        model.past_rollouts.add(model.rollout_buffer)
        old_policy = frozen_copy(model.policy)
        batch = next(model.rollout_buffer.get(None))
        before = model._auxiliary_losses(old_policy, batch.observations, batch.returns)
        assert before[1].item() == pytest.approx(0, abs=1e-6)
        model.policy.is_auxiliary_phase = True
        model._learn_auxiliary()
        after = model._auxiliary_losses(old_policy, batch.observations, batch.returns)
        assert after[0].item() < 0.8 * before[0].item()
        results[beta_clone] = after[1].item()
    assert results[30.0] < 0.1 * results[0.0]
    assert results[30.0] < 0.02


def test_the_auxiliary_phase_comes_after_so_many_rollouts_and_learns_from_all_of_them() -> None:
    model = algorithm(n_policy_iterations=3)
    n_tokens: list[int] = []
    phases: list[int] = []
    learn_auxiliary = model._learn_auxiliary

    def watched() -> None:
        assert model.policy.is_auxiliary_phase
        joined = model.past_rollouts.joined(model.rollout_buffer)
        assert joined.n_tokens == sum(n_tokens[-3:])
        assert len(joined.target_returns) == joined.n_tokens
        last = model.rollout_buffer
        assert torch.equal(joined.target_returns[-last.n_tokens :], last.target_returns)
        assert generated_tokens(joined)[-len(last.lengths) :] == generated_tokens(last)
        phases.append(len(n_tokens))
        learn_auxiliary()

    model._learn_auxiliary = watched  # type: ignore[method-assign]
    for _ in range(7):
        collect(model)
        n_tokens.append(model.rollout_buffer.n_tokens)
        model.train()
        assert not model.policy.is_auxiliary_phase
    assert phases == [3, 6]
    assert len(model.past_rollouts) == 1
    assert {"train/aux_value_loss", "train/aux_kl"} <= set(model.logger.name_to_value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_policy_iterations": 0}, "n_policy_iterations must be at least 1, got 0."),
        ({"n_aux_epochs": 0}, "n_aux_epochs must be at least 1, got 0."),
        ({"beta_clone": -1.0}, "beta_clone must be at least 0, got -1.0."),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(**settings, policy_kwargs={"model": gpt2_config()})


@pytest.mark.parametrize("critic", ["separate", None])
def test_a_critic_that_shares_no_trunk_is_an_error(critic: str | None) -> None:
    message = (
        "critic must be 'shared' with PPG, whose auxiliary phase teaches the actor's trunk what the critic knows, got "
        f"{critic!r}; PPO takes the others."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(policy_kwargs={"model": gpt2_config(), "critic": critic})


def test_nan_in_the_auxiliary_phase_is_named() -> None:
    model = algorithm()
    collect(model)
    model.past_rollouts.add(model.rollout_buffer)
    model.past_rollouts._rollouts[0].tensors["target_returns"][:] = torch.nan
    before = [parameter.clone() for parameter in model.policy.parameters()]
    with pytest.raises(NonFiniteError, match="the policy's auxiliary value errors became NaN or infinite"):
        model._learn_auxiliary()
    assert all(torch.equal(one, other) for one, other in zip(before, model.policy.parameters(), strict=True))
