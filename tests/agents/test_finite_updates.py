"""NaN in a loss, a gradient or a weight stops training, with the step, the term and the last checkpoint."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from tests.agents.tiny import gpt2_config, language_model, letter_policy, letter_task, llama_config
from textgym.agents import A2C, DQN, PPG, PPO, QRDQN, REINFORCE, TRPO, TextGenVecEnv
from textgym.agents.finite_updates import NonFiniteError
from textgym.agents.generation import generate_episodes
from textgym.agents.policy import GPT2Policy
from textgym.agents.term_watch import TermWatch


def algorithm(**settings: Any) -> PPO:
    defaults = {"n_steps": 20, "n_epochs": 2, "batch_size": 20, "seed": 0, "device": "cpu", "reference": None}
    kwargs = {"model": language_model()}
    return PPO("GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs=kwargs, **{**defaults, **settings})


class SpoilTheRollout(BaseCallback):
    """Spoils what the second rollout has stored, before it is learned from."""

    def __init__(self, spoil: Callable[[PPO], None]) -> None:
        super().__init__()
        self.spoil = spoil
        self.n_rollouts = 0

    def _on_rollout_end(self) -> None:
        self.n_rollouts += 1
        if self.n_rollouts == 2:
            assert isinstance(self.model, PPO)
            self.spoil(self.model)

    def _on_step(self) -> bool:
        return True


def spoil_returns(model: PPO) -> None:
    model.rollout_buffer.target_returns[:] = torch.nan


def spoil_advantages(model: PPO) -> None:
    model.rollout_buffer.advantages[:] = torch.inf


def spoil_weights(model: PPO) -> None:
    with torch.no_grad():
        model.policy.value_net.weight[0, 0] = torch.nan


def spoil_gradient(model: PPO) -> None:
    model.policy.value_net.bias.register_hook(lambda gradient: gradient * torch.nan)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("spoil", "term"),
    [
        (spoil_returns, "the value loss"),
        (spoil_advantages, "the policy loss"),
        (spoil_weights, "the policy's values"),
        (spoil_gradient, "the gradient"),
    ],
)
def test_training_stops_before_a_step_and_says_why(tmp_path: Path, spoil: Callable[[PPO], None], term: str) -> None:
    model = algorithm()
    model.save(tmp_path / "saved.zip")
    with pytest.raises(NonFiniteError) as raised:
        model.learn(400, callback=SpoilTheRollout(spoil))
    error = raised.value
    assert (error.num_timesteps, error.n_updates) == (model.num_timesteps, 2)
    assert error.num_timesteps > 40
    assert error.checkpoint == tmp_path / "saved.zip"
    assert str(error) == (
        f"Training has stopped at step {model.num_timesteps}, after 2 updates: {term} became NaN or infinite. The last "
        f"good checkpoint is {tmp_path / 'saved.zip'}; go on from there with smaller steps, such as by a "
        "lower learning_rate."
    )
    if spoil is not spoil_weights:
        assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


class SpoilAllRewards(BaseCallback):
    """Spoils what any algorithm is about to learn from."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        stored: Any = getattr(self.model, "replay_buffer", None)
        if stored is not None:
            stored.rewards[:] = torch.nan
        else:
            spoil_advantages(self.model)  # type: ignore[arg-type]


OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "A2C": (A2C, {"n_steps": 20}),
    "TRPO": (TRPO, {"n_steps": 20}),
    "DQN": (DQN, {"learning_starts": 0, "train_freq": 40, "batch_size": 20, "gradient_steps": 1}),
    "QRDQN": (QRDQN, {"learning_starts": 0, "train_freq": 40, "batch_size": 20, "gradient_steps": 1}),
    "PPG": (PPG, {"n_steps": 20, "n_policy_iterations": 1}),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_of_a_spoilt_step_and_all_after_it_none_is_taken(n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host hears of it one step later, too; and then it names what was spoilt in the step that was."""
    model = algorithm(n_epochs=n_epochs, batch_size=10_000)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    spoils = iter([torch.nan])
    # The gradient of the first step alone, behind the clipping.
    gradient_of = model.policy.value_net.weight
    clip = torch.nn.utils.clip_grad_norm_

    def spoil(*arguments: Any, **options: Any) -> Tensor:
        norm = clip(*arguments, **options)
        assert gradient_of.grad is not None
        gradient_of.grad[0, 0] += next(spoils, 0.0)
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil)
    with pytest.raises(NonFiniteError, match=r"the gradient of value_net\.weight"):
        model.learn(20)
    assert all(torch.equal(one, other) for one, other in zip(before, model.policy.parameters(), strict=True))
    assert not hasattr(model.policy.optimizer, "found_inf")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("kind", "settings"), OTHERS.values(), ids=OTHERS)
def test_other_algorithms_stop_too_and_their_weights_stay(kind: Any, settings: dict[str, Any]) -> None:
    model = kind(
        "GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs={"model": language_model()}, seed=0, device="cpu",
        **settings,
    )  # fmt: skip
    before = [parameter.clone() for parameter in model.network.language_model.parameters()]
    with pytest.raises(NonFiniteError, match="became NaN or infinite"):
        model.learn(40, callback=SpoilAllRewards())
    after = model.network.language_model.parameters()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_an_update_that_ends_with_a_spoilt_weight_is_not_gone_on_from() -> None:
    """Were it not for the check after the last step, such weights could be saved."""
    model = algorithm(n_epochs=1, batch_size=10_000)
    model.policy.optimizer.register_step_post_hook(lambda *_: spoil_weights(model))
    message = (
        "Training has stopped at step {}, after 1 updates: the weight value_net.weight became NaN or infinite. Nothing "
        "had been saved; begin again with smaller steps, such as by a lower learning_rate."
    )
    with pytest.raises(NonFiniteError) as raised:
        model.learn(20)
    assert str(raised.value) == message.format(model.num_timesteps)


def spoilt(watch: TermWatch) -> list[str]:
    return [name for name, is_spoilt in watch.flags.items() if is_spoilt]


def test_what_was_not_finite_in_an_earlier_minibatch_is_not_blamed() -> None:
    watch = TermWatch()
    watch.watch({"values": torch.tensor(torch.nan)}, {"values": "value loss"})
    assert spoilt(watch) == ["the policy's values"]
    values = torch.ones(1, requires_grad=True)
    watch.watch({"values": values}, {"values": "value loss"})
    assert not spoilt(watch)
    (values * torch.inf).backward()
    assert spoilt(watch) == ["the value loss"]


@pytest.mark.usefixtures("way")
def test_the_last_step_of_a_further_phase_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of such a look is saved."""
    env = TextGenVecEnv(2, letter_task())
    settings: dict[str, Any] = {"n_steps": 20, "batch_size": 10_000, "n_epochs": 1, "n_policy_iterations": 1}
    model = PPG(
        "GPT2Policy", env, **settings, n_aux_epochs=2, seed=0, device="cpu", policy_kwargs={"model": language_model()}
    )
    n_steps = 0
    clip = torch.nn.utils.clip_grad_norm_

    def spoil(*arguments: Any, **options: Any) -> Tensor:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 6:
            spoil_bias.grad.fill_(torch.inf)
        return clip(*arguments, **options)

    spoil_bias: Any = model.policy.value_net.bias
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil)
    model.learn(20)
    assert n_steps == 3
    model.save(tmp_path / "saved.zip")
    assert "_last_look" not in vars(PPG.load(tmp_path / "saved.zip"))
    with pytest.raises(NonFiniteError, match=r"the gradient of value_net\.bias became"):
        model.learn(20)
    assert n_steps == 6


def test_an_optimiser_may_have_parameters_that_are_not_the_policys() -> None:
    model = algorithm(n_epochs=1)
    mine = torch.nn.Parameter(torch.zeros(2))
    mine.grad = torch.ones(2)
    model.policy.optimizer.add_param_group({"params": [mine]})
    model._check_gradients(model.policy.optimizer)
    mine.grad[0] = torch.nan
    with pytest.raises(NonFiniteError, match="the gradient"):
        model._check_gradients(model.policy.optimizer)


class SaveBeforeRollouts(BaseCallback):
    """Saves between an update and the next rollout, as a run does."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def _on_rollout_start(self) -> None:
        self.model.save(self.path)

    def _on_step(self) -> bool:
        return True


ONE_STEP: dict[str, tuple[Any, dict[str, Any]]] = {
    "A2C": (A2C, {"n_steps": 20}),
    "REINFORCE": (REINFORCE, {"n_steps": 20}),
    "PPO": (PPO, {"n_steps": 20, "n_epochs": 1, "batch_size": 1000}),
    "DQN": (DQN, {"learning_starts": 0, "train_freq": 40, "batch_size": 20, "gradient_steps": 1}),
    "QRDQN": (QRDQN, {"learning_starts": 0, "train_freq": 40, "batch_size": 20, "gradient_steps": 1}),
}


@pytest.mark.parametrize(("kind", "settings"), ONE_STEP.values(), ids=ONE_STEP)
def test_a_step_to_weights_that_are_finite_and_useless_is_not_saved(
    kind: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    """After it every output is NaN; the last good checkpoint is the one before it."""
    model = kind(
        "GPT2Policy", TextGenVecEnv(2, letter_task()), policy_kwargs={"model": language_model()}, seed=0, device="cpu",
        learning_rate=1e30, **settings,
    )  # fmt: skip
    term = r"the policy's (values|log_prob|Q values) after the update became NaN"
    with pytest.raises(NonFiniteError, match=term) as raised:
        model.learn(400, callback=SaveBeforeRollouts(tmp_path / "saved.zip"))
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    assert raised.value.checkpoint == tmp_path / "saved.zip"
    env = TextGenVecEnv(2, letter_task())
    loaded = kind.load(tmp_path / "saved.zip", env=env, device="cpu", learning_rate=1e-4, reference=language_model())
    assert loaded.learn(60).num_timesteps >= 60


def test_a_rollout_of_nan_is_not_shown_to_the_reward() -> None:
    calls: list[int] = []

    def counted(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        calls.append(len(completions))
        return [0.0] * len(completions)

    model = A2C(
        "GPT2Policy", TextGenVecEnv(2, letter_task(reward=counted)), policy_kwargs={"model": language_model()},
        n_steps=20, seed=0, device="cpu",
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.policy.language_model.parameters():
            parameter.mul_(1e30)
    with pytest.raises(NonFiniteError, match=r"the policy's log_prob in a rollout became NaN or infinite"):
        model.learn(40)
    assert not calls


def test_weights_that_count_as_bounded_give_finite_outputs() -> None:
    task = letter_task()
    policy = letter_policy(task)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1e4 / parameter.norm().clamp(min=1e-30)).nan_to_num_()
    assert policy.is_bounded(1e4)
    assert not policy.is_bounded(1.1e4)
    for item in generate_episodes(policy, task, range(20), seed=0):
        assert item.log_prob.isfinite().all()
        assert item.values.isfinite().all()


class Unbounded(GPT2Policy):
    """Computes values in a way of its own."""


def test_only_a_plain_gpt2_counts_as_bounded() -> None:
    task = letter_task()
    assert letter_policy(task).is_bounded(1.0)
    assert not letter_policy(task, language_model(llama_config())).is_bounded(1.0)
    assert not letter_policy(task, language_model(gpt2_config(layer_norm_epsilon=0.0))).is_bounded(1.0)
    assert not letter_policy(task, policy_class=Unbounded).is_bounded(1.0)
    assert not letter_policy(task, temperature=1e-6).is_bounded(1.0)
    hooked = letter_policy(task)
    hooked.value_net.register_forward_hook(lambda module, inputs, output: output * torch.inf)
    assert not hooked.is_bounded(1.0)
    replaced = letter_policy(task)
    replaced.value_net = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 1))  # type: ignore[assignment]
    assert not replaced.is_bounded(1.0)


def test_usual_weights_are_not_evaluated_after_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    model = algorithm()
    monkeypatch.setattr(model, "_outputs", lambda: pytest.fail("a forward pass that nobody needs"))
    model.learn(20)


def test_an_optimiser_of_the_users_and_a_copy_are_watched_too() -> None:
    swapped = algorithm(n_epochs=1, batch_size=10_000)
    swapped.policy.optimizer = torch.optim.AdamW(swapped.policy.parameters())
    for model in (copy.deepcopy(algorithm(n_epochs=1, batch_size=10_000)), swapped):
        before = [parameter.clone() for parameter in model.policy.parameters()]
        model.policy.value_net.bias.register_hook(lambda gradient: gradient * torch.nan)
        with pytest.raises(NonFiniteError, match="the gradient became NaN"):
            model.learn(20)
        assert all(torch.equal(one, other) for one, other in zip(before, model.policy.parameters(), strict=True))
