"""How networks are trained, step by step, and how the members of an ensemble differ and are scaled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.rewards.learned.makers import rated_films, save_tiny_encoder
from textgym.rewards.learned import Feedback, NetworkRewardModel, make_ensemble
from textgym.rewards.learned.network import RewardNetwork

FEEDBACK, HELD_OUT = rated_films(24), rated_films(6, seed=1)


class Steps:
    """What was seen in training.

    Attributes:
        modes: For each batch, whether the network was in training, and whether it had gradients.
        norms: The gradients' norm at each step.
        decays: The weight decay of each step.
    """

    def __init__(self) -> None:
        self.modes: list[tuple[bool, bool]] = []
        self.norms: list[float] = []
        self.decays: list[float] = []

    def watch(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimizer.param_groups
        gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
        self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        self.decays.append(group["weight_decay"])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Each step of what is trained in the test."""
    seen, forward = Steps(), RewardNetwork.forward

    def watched(network: RewardNetwork, batch: Any) -> torch.Tensor:
        seen.modes.append((network.training, torch.is_grad_enabled()))
        return forward(network, batch)

    monkeypatch.setattr(RewardNetwork, "forward", watched)
    handle = register_optimizer_step_pre_hook(seen.watch)
    yield seen
    handle.remove()


def train(folder: Path, **arguments: Any) -> None:
    settings = {"epochs": 3, "batch_size": 8, "patience": 3, "learning_rate": 1e-2, "device": "cpu", **arguments}
    NetworkRewardModel(save_tiny_encoder(folder / "encoder", 1), **settings).fit(FEEDBACK, held_out=HELD_OUT)


def test_dropout_is_on_where_a_network_learns_and_off_where_it_is_judged(steps: Steps, tmp_path: Path) -> None:
    train(tmp_path)
    learned = [is_training for is_training, has_gradients in steps.modes if has_gradients]
    judged = [is_training for is_training, has_gradients in steps.modes if not has_gradients]
    assert learned == [True] * 9
    assert judged
    assert not any(judged)


def test_gradients_are_clipped_to_norm_1(steps: Steps, tmp_path: Path) -> None:
    train(tmp_path)
    assert len(steps.norms) == 9
    assert max(steps.norms) == pytest.approx(1.0, abs=1e-4)


def test_weights_decay_as_much_as_is_asked(steps: Steps, tmp_path: Path) -> None:
    train(tmp_path, weight_decay=0.3)
    assert set(steps.decays) == {0.3}


@pytest.mark.parametrize("kind", ["tree", "network", "linear_preferences"])
def test_members_of_an_ensemble_have_seeds_of_their_own(kind: str) -> None:
    members = make_ensemble(kind, 3, seed=5).members
    assert [member.arguments()["seed"] for member in members] == [5, 6, 7]


def test_members_of_an_ensemble_are_scaled_on_all_of_its_feedback() -> None:
    feedback = Feedback(FEEDBACK.ratings)
    ensemble = make_ensemble("ridge", 2).fit(feedback)
    for member in ensemble.members:
        scores = np.array(member.score(*feedback.texts()))
        assert scores.mean() == pytest.approx(0.0, abs=1e-9)
        assert scores.std() == pytest.approx(1.0)
