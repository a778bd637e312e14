"""KL estimators against the exact divergence, their coefficient, and their part in a rollout's rewards."""

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.utils import LinearSchedule
from torch import Tensor

from tests.agents.tiny import exactly, language_model, letter_task, single_context
from textgym.agents import PPO, TextGenVecEnv
from textgym.agents.kl import KLController, KLEstimator, estimate_kl, exact_kl
from textgym.agents.on_policy import SequenceOnPolicyAlgorithm
from textgym.agents.policy import GPT2Policy
from textgym.task import TextTask


def distributions() -> tuple[Tensor, Tensor]:
    """Log-probabilities of 8 tokens under 5 policies and references."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    log_probs = logits.log_softmax(-1)
    return log_probs[0], log_probs[1]


def expected_estimate(estimator: KLEstimator) -> tuple[Tensor, Tensor]:
    """Return an estimator's expectation over all tokens, and the exact KL(policy ‖ reference) by torch's formula."""
    policy, reference = distributions()
    expectation = (policy.exp() * estimate_kl(policy, reference, estimator)).sum(-1)
    exact = torch.nn.functional.kl_div(reference, policy, reduction="none", log_target=True).sum(-1)
    return expectation, exact


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator: KLEstimator) -> None:
    expectation, exact = expected_estimate(estimator)
    torch.testing.assert_close(expectation, exact)


def test_k2_is_biased_but_right_for_small_differences() -> None:
    expectation, exact = expected_estimate("k2")
    assert (expectation - exact).abs().max() > 0.05
    policy, reference = distributions()
    near = (policy + 0.01 * reference).log_softmax(-1)
    expectation = (near.exp() * estimate_kl(near, policy, "k2")).sum(-1)
    exact = (near.exp() * (near - policy)).sum(-1)
    torch.testing.assert_close(expectation, exact, rtol=0.02, atol=0)


def test_estimates_by_hand() -> None:
    """A token twice as probable under the policy: log 2, (log 2)² / 2, and 1/2 − 1 + log 2."""
    log_prob, ref_log_prob = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    for estimator, expected in (
        ("k1", [0.693147, -0.693147]),
        ("k2", [0.240227, 0.240227]),
        ("k3", [0.193147, 0.306853]),
    ):
        assert estimate_kl(log_prob, ref_log_prob, estimator).tolist() == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_k2_and_k3_are_never_negative_and_all_are_0_for_equals() -> None:
    policy, reference = distributions()
    assert (estimate_kl(policy, reference, "k2") >= 0).all()
    assert (estimate_kl(policy, reference, "k3") >= 0).all()
    for estimator in ("k1", "k2", "k3"):
        assert not estimate_kl(policy, policy, estimator).any()


def test_an_unknown_estimator_is_an_error() -> None:
    with pytest.raises(ValueError, match=exactly("kl_estimator must be 'k1', 'k2' or 'k3', got 'k4'.")):
        estimate_kl(torch.zeros(1), torch.zeros(1), "k4")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kl", "n_episodes", "factor"),
    [
        (6.0, 512, 1.0),  # on target
        (6.6, 512, 1 + 0.1 * 0.0512),  # a tenth above: proportional
        (5.4, 512, 1 - 0.1 * 0.0512),
        (60.0, 512, 1 + 0.2 * 0.0512),  # clipped
        (0.0, 512, 1 - 0.2 * 0.0512),
        (-3.0, 512, 1 - 0.2 * 0.0512),  # an estimate may be negative
        (60.0, 10_000, 1.2),
        (60.0, 90_000, 1.2),
        (0.0, 90_000, 0.8),  # never below 0, however long the rollout
    ],
)
def test_the_coefficient_follows_ziegler(kl: float, n_episodes: int, factor: float) -> None:
    """Their numbers: 512 episodes a batch and a horizon of 10,000, so K = 0.0512; target 6 nats, coefficient 0.15."""
    controller = KLController(0.15, target=6.0, horizon=10_000)
    controller.update(kl, n_episodes)
    assert controller.coefficient == pytest.approx(0.15 * factor)


def test_without_a_target_the_coefficient_stays() -> None:
    controller = KLController(0.15)
    controller.update(1_000.0, 1_000)
    assert controller.coefficient == 0.15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coefficient": -0.1}, "kl_coef must be at least 0, got -0.1."),
        ({"coefficient": 0.1, "target": 0.0}, "kl_target must be above 0, got 0.0."),
        ({"coefficient": 0.1, "horizon": 0}, "kl_horizon must be at least 1, got 0."),
        (
            {"coefficient": 0.0, "target": 2.0},
            (
                "kl_target multiplies kl_coef, which must be above 0 to begin with, got 0; give one, or leave "
                "kl_target at None."
            ),
        ),
    ],
)
def test_numbers_out_of_range_are_errors(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        KLController(**settings)  # type: ignore[arg-type]


def algorithm(task: TextTask, **settings: object) -> PPO:
    defaults = {"n_steps": 40, "n_epochs": 1, "seed": 0, "device": "cpu", "learning_rate": 1e-2}
    kwargs = {"model": language_model(), "temperature": 0.8}
    return PPO("GPT2Policy", TextGenVecEnv(2, task), **{**defaults, "policy_kwargs": kwargs, **settings})  # type: ignore[arg-type]


class Kept:
    """What a rollout's buffer held when its returns were estimated."""

    def __init__(self, model: SequenceOnPolicyAlgorithm) -> None:
        self.rewards: list[Tensor] = []
        self.kl: list[float] = []
        self.n_episodes: list[int] = []
        self.prices: list[float] = []
        buffer = model.rollout_buffer
        estimate = buffer.estimate_returns

        def keep() -> None:
            self.rewards.append(buffer.rewards.clone())
            self.n_episodes.append(len(buffer.lengths))
            self.kl.append(float(model.logger.name_to_value["rollout/kl"]))
            self.prices.append(float(model.logger.name_to_value["rollout/kl_coef"]))
            estimate()

        buffer.estimate_returns = keep  # type: ignore[method-assign]


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_first_rollout_has_no_kl_to_the_reference_and_later_ones_have(estimator: str) -> None:
    """With temperature, banned tokens and an early end forbidden, all of which the reference has to share."""
    task = letter_task(banned_token_ids=[1], min_new_tokens=2)
    model = algorithm(task, kl_coef=1.0, kl_estimator=estimator)
    kept = Kept(model)
    model.learn(240)
    assert abs(kept.kl[0]) < 1e-4
    assert max(abs(kl) for kl in kept.kl[1:]) > 1e-2


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_each_token_pays_for_its_kl(estimator: KLEstimator) -> None:
    """The second rollout's rewards against scores and log-probabilities of single contexts, token by token.

    Whatever KL is estimated by, what is charged is k1: with the others, as rewards, it goes up instead of down.
    """
    task = letter_task(banned_token_ids=[1])
    model = algorithm(task, kl_coef=0.3, kl_estimator=estimator)
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    model.learn(80)
    after = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    kept = Kept(model)
    model.learning_rate = 0.0
    model._setup_lr_schedule()
    model.learn(1, reset_num_timesteps=False)
    buffer = model.rollout_buffer
    tokens, start, expected, nats = buffer.token_ids.tolist(), 0, [], 0.0
    for n_prompt, n_tokens in zip(buffer.prompt_lengths, buffer.lengths, strict=True):
        prompt = tokens[start : start + n_prompt]
        generated = tokens[start + n_prompt : start + n_prompt + n_tokens]
        start += int(n_prompt + n_tokens)
        text = task.completion_text(generated)
        for step, token in enumerate(generated):
            log_probs = [one_log_prob(model.policy, w, task, prompt, generated[:step], token) for w in (after, before)]
            nats += float(estimate_kl(log_probs[0], log_probs[1], estimator))
            score = text.count("a") + 0.1 * len(text) if step == n_tokens - 1 else 0.0
            expected.append(score - 0.3 * float(log_probs[0] - log_probs[1]))
    torch.testing.assert_close(kept.rewards[0], torch.tensor(expected), atol=1e-4, rtol=0)
    assert kept.kl[0] == pytest.approx(nats / kept.n_episodes[0], abs=1e-3)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_price_of_kl_alone_leads_back_to_the_reference(estimator: str) -> None:
    def nothing(completions: list[str], **columns: object) -> list[float]:
        return [0.0] * len(completions)

    settings = {"kl_coef": 1.0, "kl_estimator": estimator, "n_steps": 150, "n_epochs": 2, "learning_rate": 3e-3}
    model = algorithm(letter_task(reward=nothing), **settings)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.language_model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    kept = Kept(model)
    model.learn(9_000)
    before, after = (sum(part) / len(part) for part in (kept.kl[:3], kept.kl[-5:]))
    assert before > 0.1
    assert after < before / 2


def test_a_target_without_a_reference_is_an_error() -> None:
    message = "kl_target needs a reference that KL is measured against, got reference None; leave kl_target at None."
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(letter_task(), reference=None, kl_target=2.0)


def one_log_prob(
    policy: GPT2Policy, weights: dict[str, Tensor], task: TextTask, prompt: list[int], before: list[int], token: int
) -> Tensor:
    policy.load_state_dict(weights)
    context = {key: torch.as_tensor(array)[None] for key, array in single_context(task, prompt, before).items()}
    with torch.no_grad():
        return policy.evaluate_actions(context, torch.tensor([token]))[1]


def test_the_coefficient_is_adapted_to_the_kl_of_a_completion() -> None:
    model = algorithm(letter_task(), kl_coef=0.5, kl_target=1e-3, kl_horizon=100, learning_rate=1e-3)
    kept = Kept(model)
    model.learn(240)
    expected = KLController(0.5, 1e-3, 100)
    for kl, n_episodes in zip(kept.kl, kept.n_episodes, strict=True):
        expected.update(kl, n_episodes)
    assert expected.price(1.0) > 0.51
    assert model.kl_controller.coefficient == pytest.approx(expected.coefficient)


def test_the_coefficient_may_be_a_schedule_of_the_remaining_progress() -> None:
    """Before the first update KL is 0, so that up to the second rollout's rewards a fixed price does the same."""
    scheduled = algorithm(letter_task(), kl_coef=lambda remaining: 2.0 - remaining)
    kept = Kept(scheduled)
    scheduled.learn(200)
    n_before = len(kept.rewards[0])
    assert kept.prices[:2] == [1.0, pytest.approx(1 + n_before / 200)]
    assert kept.prices == sorted(set(kept.prices))
    fixed = algorithm(letter_task(), kl_coef=kept.prices[1])
    kept_of_fixed = Kept(fixed)
    fixed.learn(n_before + 1)
    torch.testing.assert_close(kept.rewards[1], kept_of_fixed.rewards[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("price", [-0.1, float("nan")])
def test_a_schedule_that_pays_for_kl_is_an_error(price: float) -> None:
    model = algorithm(letter_task(), kl_coef=lambda _: price)
    with pytest.raises(ValueError, match=exactly(f"kl_coef must be at least 0, got {price}.")):
        model.learn(40)


def test_a_schedule_has_no_target(tmp_path: Path) -> None:
    """Neither when the algorithm is made nor when it is loaded with one."""
    message = exactly("kl_target steers a kl_coef that is a number; with a schedule leave kl_target at None.")
    with pytest.raises(ValueError, match=message):
        algorithm(letter_task(), kl_coef=lambda remaining: remaining, kl_target=1.0)
    algorithm(letter_task(), kl_coef=LinearSchedule(0.1, 0.2, 1.0)).save(tmp_path / "scheduled.zip")
    changes: dict[str, Any] = {"kl_target": 1.0, "reference": language_model()}
    loaded = PPO.load(tmp_path / "scheduled.zip", TextGenVecEnv(2, letter_task()), device="cpu", **changes)
    with pytest.raises(ValueError, match=message):
        loaded.learn(40)


def test_without_a_reference_rewards_are_the_scores() -> None:
    task = letter_task()
    model = algorithm(task, reference=None, kl_coef=5.0)
    totals: list[float] = []
    pay = model.rollout_buffer.pay

    def keep(rewards: object) -> None:
        pay(rewards)  # type: ignore[arg-type]
        totals.append(float(model.rollout_buffer.rewards.sum()))

    model.rollout_buffer.pay = keep  # type: ignore[method-assign]
    model.learn(40)
    assert "rollout/kl" not in model.logger.name_to_value
    assert float(model.rollout_buffer.rewards.sum()) == totals[-1]
    assert model.ep_info_buffer is not None
    assert sum(info["r"] for info in model.ep_info_buffer) == pytest.approx(totals[-1], abs=1e-3)


def test_the_exact_kl_is_that_of_torchs_distributions_and_leaves_forbidden_tokens_out() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, other = torch.randn((2, 5, 7), generator=generator)
    categorical = torch.distributions.Categorical
    expected = torch.distributions.kl_divergence(categorical(logits=logits), categorical(logits=other))
    torch.testing.assert_close(exact_kl(logits, other), expected)
    wider = [torch.cat([one, torch.full((5, 2), torch.finfo(torch.float32).min)], dim=1) for one in (logits, other)]
    wider[1].requires_grad_()
    kl = exact_kl(*wider)
    torch.testing.assert_close(kl, expected)
    kl.sum().backward()
    assert wider[1].grad is not None
    assert wider[1].grad.isfinite().all()
    assert not wider[1].grad[:, 7:].any()


@pytest.mark.parametrize(("setting", "value"), [("reference", None), ("kl_coef", 0.0)])
def test_a_target_that_cannot_be_reached_is_refused_before_a_rollout_where_an_algorithm_was_loaded(
    tmp_path: Path, setting: str, value: object
) -> None:
    algorithm(letter_task(), kl_target=2.0).save(tmp_path / "saved.zip")
    settings: dict[str, Any] = {"reference": language_model(), setting: value}
    model = PPO.load(tmp_path / "saved.zip", env=TextGenVecEnv(2, letter_task()), device="cpu", **settings)
    with pytest.raises(ValueError, match=r"leave kl_target at None\.$"):
        model.learn(40)
    assert model.num_timesteps == 0
