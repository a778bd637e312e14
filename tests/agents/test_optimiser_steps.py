"""The optimiser's steps beside Stable-Baselines3's own: gradients of one minibatch alone, and none above the bound."""

import pytest
import torch

from tests.agents.test_nlpo import algorithm as nlpo
from tests.agents.test_ppg import algorithm as ppg
from tests.agents.test_trpo import algorithm as trpo
from tests.agents.tiny import language_model
from tests.agents.twins import collect
from textgym.agents.reference import frozen_copy


@pytest.mark.parametrize("bound", [1e-6, 1e6])
def test_the_auxiliary_phase_makes_one_step_within_the_bound_for_each_minibatch(bound: float) -> None:
    rate = 0.1
    kwargs = {"model": language_model(), "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}}
    ours, plain = (ppg(policy_kwargs=kwargs, max_grad_norm=bound, learning_rate=rate) for _ in range(2))
    for model in (ours, plain):
        collect(model)
        model.past_rollouts.add(model.rollout_buffer)
        model.policy.is_auxiliary_phase = True
    before = [parameter.detach().clone() for parameter in ours.policy.parameters()]
    ours._learn_auxiliary()

    old_policy = frozen_copy(plain.policy)
    buffer = plain.past_rollouts.joined(plain.rollout_buffer)
    parameters = list(plain.policy.parameters())
    n_steps = 0
    for _ in range(plain.n_aux_epochs):
        for batch in buffer.get(plain.batch_size):
            value_loss, kl = plain._auxiliary_losses(old_policy, batch.observations, batch.returns)
            gradients = torch.autograd.grad(value_loss + plain.beta_clone * kl, parameters)
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient * min(1.0, bound / float(norm)), alpha=rate)
            n_steps += 1
    assert n_steps > 3
    for one, other in zip(ours.policy.parameters(), parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    moved = torch.cat([(one - then).flatten() for one, then in zip(parameters, before, strict=True)]).norm()
    assert 0 < moved <= 1.01 * n_steps * rate * bound


def test_an_update_of_nlpo_in_micro_batches_equals_one_without() -> None:
    models = [
        nlpo(policy_kwargs={"model": language_model(), "micro_batch_size": size}, learning_rate=1e-3)
        for size in (None, 15)
    ]
    for model in models:
        collect(model)
        model.train()
    for one, other in zip(*(model.policy.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def test_each_update_of_trpo_measures_curvature_on_episodes_of_its_own() -> None:
    model = trpo()
    collect(model)
    n_updates = model._n_updates
    measured = []
    for number in (0, 1, 0):
        model._n_updates = n_updates + number
        measured.append(model._sampled_log_prob())
    assert torch.equal(measured[0], measured[2])
    assert measured[0].shape != measured[1].shape or not torch.equal(measured[0], measured[1])


def test_each_update_of_trpo_draws_from_generators_of_its_own() -> None:
    model = trpo()
    drawn: list[int] = []
    learn = model._compute_actor_grad

    def watched(*arguments: torch.Tensor) -> object:
        drawn.append(torch.initial_seed())
        return learn(*arguments)

    model._compute_actor_grad = watched  # type: ignore[assignment,method-assign]
    for _ in range(2):
        collect(model)
        model.train()
    assert len(set(drawn)) == 2
