"""TRPO's own: sub-sampling, the curvature's share, whose parameters are whose, and its errors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_policy, letter_task, waken_critic
from tests.agents.twins import collect
from textgym.agents import TRPO, TextGenVecEnv
from textgym.agents.finite_updates import NonFiniteError
from textgym.agents.kl import exact_kl
from textgym.agents.token_distribution import TokenDistribution
from textgym.agents.trpo import SliceableBatch
from textgym.task import TextTask


def algorithm(task: TextTask | None = None, **settings: Any) -> TRPO:
    defaults = {"n_steps": 30, "seed": 0, "device": "cpu", "cg_max_steps": 3, "n_critic_updates": 2}
    kwargs = {"model": language_model()}
    env = TextGenVecEnv(3, letter_task() if task is None else task)
    return TRPO("GPT2Policy", env, **{**defaults, "policy_kwargs": kwargs, **settings})


def collected(**settings: Any) -> TRPO:
    model = algorithm(letter_task(min_new_tokens=3), **settings)
    collect(model)
    model.set_logger(configure(None, []))
    return model


def test_a_sliced_batch_gives_the_distributions_of_every_nth_decision() -> None:
    """With a rule that depends on how many tokens were generated before, left-out decisions included."""
    model = collected()
    observations: Any = model.rollout_buffer.samples(np.arange(5)).observations
    whole = model.policy.get_distribution(observations).distribution
    part = model.policy.get_distribution(observations[::3]).distribution
    torch.testing.assert_close(part.logits, whole.logits[::3])  # type: ignore[union-attr]
    again = observations[2:][::2]
    assert isinstance(again, SliceableBatch)
    logits = model.policy.get_distribution(again).distribution.logits  # type: ignore[union-attr]
    torch.testing.assert_close(logits, whole.logits[2::2])  # type: ignore[union-attr]


@pytest.mark.parametrize("curvature_share", [0.3, 1.0])
def test_a_sub_sampled_update_stays_inside_the_trust_region(curvature_share: float) -> None:
    model = collected(sub_sampling_factor=2, curvature_share=curvature_share, target_kl=0.02, n_critic_updates=1)
    before = [parameter.clone() for parameter in model.policy.language_model.parameters()]
    model.train()
    assert model.logger.name_to_value["train/is_line_search_success"] == 1
    assert 0 < model.logger.name_to_value["train/kl_divergence_loss"] < 0.02
    pairs = zip(before, model.policy.language_model.parameters(), strict=True)
    assert any(not torch.equal(then, now) for then, now in pairs)


def test_the_sampled_curvature_is_that_of_the_sampled_episodes() -> None:
    """A product with the matrix of all episodes is the mean, by tokens, of those with each episode's own."""
    model = collected(cg_damping=0.0)
    buffer, policy = model.rollout_buffer, model.policy
    parameters = [parameter for name, parameter in policy.named_parameters() if "value" not in name]
    vectors = [torch.randn(parameter.shape) for parameter in parameters]

    def product(episodes: np.ndarray) -> torch.Tensor:
        """Fisher matrix times vector, by its definition: the covariance of the scores."""
        distribution: Any = policy.get_distribution(buffer.samples(episodes).observations).distribution
        total = torch.zeros(sum(parameter.numel() for parameter in parameters))
        flat = torch.cat([vector.flatten() for vector in vectors])
        for row in range(len(distribution.logits)):
            for token, probability in enumerate(distribution.probs[row].tolist()):
                if probability > 0:
                    score = torch.autograd.grad(distribution.logits[row, token], parameters, retain_graph=True)
                    direction = torch.cat([part.flatten() for part in score])
                    total += probability * direction * (direction @ flat)
        return total / len(distribution.logits)

    model.curvature_share = 1 / len(buffer.lengths)
    order = np.random.default_rng((0, 0)).permutation(len(buffer.lengths))
    objective = policy.get_distribution(buffer.samples(order).observations).distribution.logits[:, 0].mean()  # type: ignore[union-attr]
    actor, _, grad_kl, _ = model._compute_actor_grad(torch.zeros(()), objective)
    assert [id(parameter) for parameter in actor] == [id(parameter) for parameter in parameters]
    flat = torch.cat([vector.flatten() for vector in vectors])
    torch.testing.assert_close(
        model.hessian_vector_product(actor, grad_kl, flat), product(order[:1]), atol=1e-4, rtol=1e-3
    )


def test_parameters_of_the_actor_may_have_value_in_their_names() -> None:
    """As query_key_value of a GPT-NeoX, which sb3-contrib's own class would leave out of the update."""
    from transformers import GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, initializer_range=0.2, bos_token_id=11, eos_token_id=11,
    )  # fmt: skip
    model = collected(policy_kwargs={"model": language_model(config)})
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    before = model.policy.language_model.state_dict()[name].clone()
    model.train()
    assert not torch.equal(model.policy.language_model.state_dict()[name], before)


def test_the_critics_gradient_changes_nothing_of_the_actor() -> None:
    task = letter_task()
    policy = letter_policy(task)
    observation = {key: torch.as_tensor(array) for key, array in TextGenVecEnv(4, task).reset().items()}  # type: ignore[union-attr]
    policy.predict_values(observation).square().sum().backward()
    assert all(parameter.grad is None for parameter in policy.language_model.parameters())
    assert all(parameter.grad is not None for parameter in policy.value_net.parameters())


def test_a_critic_with_its_own_trunk_learns_in_it() -> None:
    model = collected(policy_kwargs={"model": language_model(), "critic": "separate"})
    waken_critic(model.policy)
    batch = next(model.rollout_buffer.get(None))
    model.policy.predict_values(batch.observations).square().sum().backward()
    moved = {name.split(".")[0] for name, one in model.policy.named_parameters() if one.grad is not None}
    assert moved == {"value_net", "value_trunk"}


def test_a_critic_that_learns_from_nan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = collected()
    samples = model.rollout_buffer.samples

    def spoilt(episodes: np.ndarray) -> RolloutBufferSamples:
        batch = samples(episodes)
        return batch._replace(returns=torch.full_like(batch.returns, torch.nan))

    monkeypatch.setattr(model.rollout_buffer, "samples", spoilt)
    with pytest.raises(NonFiniteError, match="the value loss became NaN or infinite"):
        model.train()


def test_random_numbers_of_others_are_left_as_they_were() -> None:
    runs = []
    for seed in (1, 2):
        model = collected()
        torch.manual_seed(seed)
        model.train()
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(1))
        runs.append(model.policy.state_dict())
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0."),
        ({"sub_sampling_factor": 0}, "sub_sampling_factor must be at least 1, got 0."),
        ({"curvature_share": 0.0}, "curvature_share must be above 0 and at most 1, got 0.0."),
        ({"curvature_share": 1.5}, "curvature_share must be above 0 and at most 1, got 1.5."),
        ({"target_kl": 0.0}, "target_kl must be above 0, got 0.0."),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(**settings, policy_kwargs={"model": gpt2_config()})


def test_training_without_a_critic_is_an_error() -> None:
    message = "critic must be 'shared' or 'separate' with TRPO, which trains it apart, got None."
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(policy_kwargs={"model": gpt2_config(), "critic": None})


def test_micro_batches_are_an_error_that_names_what_saves_memory() -> None:
    message = (
        "micro_batch_size must be None with TRPO, whose step needs the distributions of all tokens at once, got 20; "
        "sub_sampling_factor and gradient_checkpointing save memory."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(policy_kwargs={"model": gpt2_config(), "micro_batch_size": 20})


def test_the_kl_of_peaked_distributions_is_finite() -> None:
    """Where a token's probability is rounded to 0, PyTorch's own is infinite, and no shorter step would do."""
    logits, others = torch.tensor([[0.0, -90.0, -95.0]]), torch.tensor([[0.0, -120.0, -95.0]])
    one, other = (TokenDistribution(3).proba_distribution(each) for each in (logits, others))
    assert float(kl_divergence(one, other)) == pytest.approx(float(exact_kl(logits, others)))
    assert math.isfinite(float(kl_divergence(one, other)))
    model = collected()
    observations: Any = model.rollout_buffer.samples(np.arange(2)).observations
    assert isinstance(model.policy.get_distribution(observations), TokenDistribution)
