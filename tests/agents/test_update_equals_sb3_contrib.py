"""One update of MaskablePPO and TRPO equals sb3-contrib's own on the same episodes, parameter by parameter."""

from typing import Any

import numpy as np
import pytest
import sb3_contrib
import torch
from stable_baselines3.common.type_aliases import PyTorchObs

from tests.agents.tiny import letter_task, llama_config
from tests.agents.twins import Case, ScriptedMaskableBuffer, make_case, train_both
from textgym.agents import TRPO, GPT2Policy, MaskableGPT2Policy, MaskablePPO
from textgym.agents.trpo import random_numbers_of

pytestmark = [pytest.mark.equality, pytest.mark.usefixtures("way")]

MASKABLE_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no_rules": ({}, {}),
    "banned_tokens": ({"banned_token_ids": [0, 4, 5]}, {"ours_alone": {"batch_size": 40}, "temperature": 0.7}),
    "min_new_tokens": ({"min_new_tokens": 3}, {"ours_alone": {"batch_size": 40}, "clip_range_vf": 0.05}),
    "all_rules_and_a_llama": (
        {"min_new_tokens": 2, "banned_token_ids": [3]},
        {"ours_alone": {"batch_size": 40}, "config": llama_config()},
    ),
}


@pytest.mark.parametrize(("arguments", "settings"), MASKABLE_CASES.values(), ids=MASKABLE_CASES)
def test_an_update_of_maskable_ppo_equals_sb3_contribs(arguments: dict[str, Any], settings: dict[str, Any]) -> None:
    """Ours knows the rules and stores no masks; the other side knows nothing but the masks of the environment."""
    settings["ours_alone"] = {"batch_size": 10_000, **settings.get("ours_alone", {})}
    case = make_case(
        letter_task(prompt_order="sequential", **arguments), MaskablePPO, sb3_contrib.MaskablePPO,
        plain_policy=MaskableGPT2Policy, plain_buffer=ScriptedMaskableBuffer, gamma=0.95, gae_lambda=0.9, n_epochs=4,
        **settings,
    )  # fmt: skip
    np.testing.assert_allclose(
        case.ours.rollout_buffer.old_log_prob, case.plain.rollout_buffer.log_probs.flatten(), atol=2e-5
    )
    assert train_both(case) <= 1


def test_without_the_environments_masks_the_comparison_fails() -> None:
    task = letter_task(prompt_order="sequential", banned_token_ids=[0, 4, 5])
    case = make_case(
        task, MaskablePPO, sb3_contrib.MaskablePPO, plain_policy=MaskableGPT2Policy,
        plain_buffer=ScriptedMaskableBuffer, gamma=0.95, gae_lambda=0.9, n_epochs=4,
    )  # fmt: skip
    case.plain.rollout_buffer.action_masks[:] = 1  # type: ignore[attr-defined]
    assert train_both(case) > 10


class WholeGradient(GPT2Policy):
    """Lets the critic's gradient through to the trunk, so that it is sb3-contrib that removes it."""

    def predict_values(self, obs: PyTorchObs) -> torch.Tensor:
        return self.values_of(self.decisions(obs)[0])[:, None]


def trpo_case(arguments: dict[str, Any] | None = None, **settings: Any) -> Case:
    settings["ours_alone"] = {"curvature_share": 1.0, "batch_size": 40, **settings.get("ours_alone", {})}
    case = make_case(
        letter_task(prompt_order="sequential", **(arguments or {})), TRPO, sb3_contrib.TRPO,
        plain_policy=WholeGradient, gamma=0.95, gae_lambda=0.9, n_critic_updates=3, cg_damping=0.1,
        **{"cg_max_steps": 6, **settings},
    )  # fmt: skip
    policy: Any = case.plain.policy
    policy.language_model.set_attn_implementation("eager")
    train = case.plain.train

    def train_with_the_same_noise() -> None:
        """The conjugate gradient begins at random numbers."""
        with random_numbers_of(0, 0, torch.device("cpu")):
            train()

    case.plain.train = train_with_the_same_noise  # type: ignore[method-assign]
    return case


TRPO_CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small_region": {"target_kl": 0.001, "normalize_advantage": False, "cg_max_steps": 9},
    "rules_and_temperature": {"arguments": {"min_new_tokens": 2, "banned_token_ids": [3]}, "temperature": 0.7},
    "a_llama": {"config": llama_config()},
}


@pytest.mark.parametrize("settings", TRPO_CASES.values(), ids=TRPO_CASES)
def test_an_update_of_trpo_equals_sb3_contribs(settings: dict[str, Any]) -> None:
    case = trpo_case(**settings)
    before = embeddings(case).clone()
    difference = train_both(case)
    assert not torch.equal(before, embeddings(case))
    assert difference <= 1


def embeddings(case: Case) -> torch.Tensor:
    layer: Any = case.ours.policy.language_model.get_input_embeddings()
    weight: torch.Tensor = layer.weight
    return weight


def test_another_step_of_the_conjugate_gradient_makes_the_comparison_fail() -> None:
    case = trpo_case()
    case.plain.cg_max_steps += 1  # type: ignore[attr-defined]
    assert train_both(case) > 10
