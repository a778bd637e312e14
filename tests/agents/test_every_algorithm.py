"""What holds of each algorithm: it learns, loads, resumes, repeats, and keeps to the rules.

Random tokens score 0.07 of 1 in the task that is learned, and so does the untrained policy.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecMonitor

from tests.agents.learning import SETTINGS, answer_task, learn, random_score, small_model
from tests.agents.tiny import language_model, letter_task
from textgym.agents import DQN, NLPO, PPG, PPO, TRPO, GPT2Policy, GPT2QPolicy, MaskablePPO, TextGenVecEnv, evaluate
from textgym.agents.generation import generate_episodes
from textgym.agents.on_policy import SequenceOnPolicyAlgorithm
from textgym.task import TextTask


class Kind(NamedTuple):
    """An algorithm.

    Attributes:
        algorithm: The class.
        quick: Settings for short runs.
        learning: Settings with which it learns the small task.
    """

    algorithm: type[SequenceOnPolicyAlgorithm]
    quick: dict[str, Any]
    learning: dict[str, Any]


PPO_QUICK = {"n_epochs": 2, "batch_size": 30, "learning_rate": 1e-3}
KINDS = {
    "MaskablePPO": Kind(MaskablePPO, PPO_QUICK, SETTINGS),
    "NLPO": Kind(NLPO, {**PPO_QUICK, "mask_update_interval": 2, "top_p": 0.8}, {**SETTINGS, "top_p": 0.95}),
    "PPG": Kind(
        PPG,
        {**PPO_QUICK, "n_policy_iterations": 3, "n_aux_epochs": 1},
        {**SETTINGS, "n_policy_iterations": 4, "n_aux_epochs": 1},
    ),
    "TRPO": Kind(
        TRPO,
        {"n_critic_updates": 2, "batch_size": 30, "cg_max_steps": 3},
        {"n_steps": 32, "batch_size": 512, "target_kl": 0.1, "learning_rate": 3e-3, "gamma": 1.0, "device": "cpu",
         "curvature_share": 0.5, "cg_damping": 0.01},
    ),
}  # fmt: skip
ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def make(kind: Kind, task: TextTask | None = None, **settings: Any) -> SequenceOnPolicyAlgorithm:
    env = VecMonitor(TextGenVecEnv(3, letter_task() if task is None else task))
    defaults = {"n_steps": 20, "seed": 0, "device": "cpu", "policy_kwargs": {"model": language_model()}}
    return kind.algorithm("GPT2Policy", env, **{**defaults, **kind.quick, **settings})


def assert_equal_weights(first: SequenceOnPolicyAlgorithm, second: SequenceOnPolicyAlgorithm) -> None:
    ours, theirs = first.policy.state_dict(), second.policy.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@ALL
def test_it_learns_three_tokens_that_depend_on_the_prompt(kind: Kind) -> None:
    task = answer_task(banned_token_ids=[10])

    def make(seed: int) -> SequenceOnPolicyAlgorithm:
        env, policy_kwargs = TextGenVecEnv(16, task), {"model": small_model()}
        return kind.algorithm("GPT2Policy", env, policy_kwargs=policy_kwargs, kl_coef=0.001, seed=seed, **kind.learning)

    assert random_score(task) <= 0.3
    assert evaluate(make(0), task, 400).score <= 0.3
    held_out = answer_task(prompt_order="sequential", banned_token_ids=[10])
    model = learn(make, held_out)
    assert evaluate(model, held_out, 400, seed=1).score >= 0.9


@ALL
def test_a_loaded_algorithm_acts_as_the_saved_one(kind: Kind, tmp_path: Path) -> None:
    task = letter_task(banned_token_ids=[1], min_new_tokens=2)
    model = make(kind, task, policy_kwargs={"model": language_model(), "temperature": 0.7}).learn(100)
    model.save(tmp_path / "saved")
    loaded = kind.algorithm.load(tmp_path / "saved", device="cpu")
    assert_equal_weights(model, loaded)
    observation: dict[str, np.ndarray] = TextGenVecEnv(40, task).reset()  # type: ignore[assignment]
    for deterministic in (True, False):
        actions = []
        for each in (model, loaded):
            torch.manual_seed(1)
            actions.append(each.predict(observation, deterministic=deterministic)[0].tolist())
        assert actions[0] == actions[1]
    episodes = [list(generate_episodes(each.policy, task, range(20), seed=0)) for each in (model, loaded)]
    assert [item.text for item in episodes[0]] == [item.text for item in episodes[1]]
    assert not any(set(item.text.token_ids) & {1} or len(item.text.token_ids) < 2 for item in episodes[0])


@ALL
@pytest.mark.parametrize("settings", [{}, {"self_imitation": 0.5, "potential_shaping": True}], ids=["plain", "replay"])
@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    kind: Kind, critic: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    if (kind.algorithm, critic) == (PPG, "separate"):
        pytest.skip("PPG's critic shares the trunk")
    language_model().save_pretrained(tmp_path / "model")
    settings = {**settings, "policy_kwargs": {"model": str(tmp_path / "model"), "critic": critic}}
    whole = make(kind, **settings)
    whole.learn(100)
    whole.learn(160, reset_num_timesteps=False)
    stopped = make(kind, **settings)
    stopped.learn(100)
    stopped.save(tmp_path / "saved.zip")
    del stopped
    torch.manual_seed(99)
    resumed = kind.algorithm.load(tmp_path / "saved.zip", env=TextGenVecEnv(3, letter_task()), device="cpu")
    resumed.learn(160, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps
    assert_equal_weights(whole, resumed)


@pytest.mark.parametrize("kind", [PPG, NLPO, TRPO, MaskablePPO, PPO, DQN])
def test_a_policy_of_another_kind_is_an_error(kind: Any) -> None:
    """PPG would become PPO without a word, others would fail far from the mistake."""
    other = GPT2QPolicy if kind in (PPO, TRPO) else GPT2Policy
    known = {PPG: "PhasicPolicy", NLPO: "NucleusPolicy", MaskablePPO: "MaskableGPT2Policy", DQN: "GPT2QPolicy"}
    known |= {PPO: "GPT2Policy or GPT2CompletionPolicy", TRPO: "GPT2Policy"}
    message = f"{kind.__name__} needs {known[kind]}, or a subclass, got {other.__name__}; by name it is one of '"
    with pytest.raises(TypeError, match=re.escape(message)):
        kind(other, TextGenVecEnv(3, letter_task()), policy_kwargs={"model": language_model()}, device="cpu")


OPTIONS: dict[str, dict[str, Any]] = {
    "separate_critic": {"critic": "separate"},
    "no_critic": {"critic": None},
    "frozen_layer": {"frozen_layers": 1},
    "adapter": {"lora": 2},
    "bfloat16": {"autocast": "bfloat16"},
    "micro_batches": {"micro_batch_size": 15},
    "checkpointed_blocks": {"gradient_checkpointing": True},
}
# Each is an error, in the algorithm's own tests.
REFUSED = {
    ("NLPO", "frozen_layer"), ("NLPO", "adapter"), ("PPG", "separate_critic"), ("PPG", "no_critic"),
    ("TRPO", "no_critic"), ("TRPO", "micro_batches"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(k, o) for k in KINDS for o in OPTIONS if (k, o) not in REFUSED])
def test_it_takes_the_options_of_the_policy_and_loads_with_them(kind: str, name: str, tmp_path: Path) -> None:
    if name == "adapter":
        pytest.importorskip("peft")
    model = make(KINDS[kind], policy_kwargs={"model": language_model(), **OPTIONS[name]})
    before = {key: tensor.clone() for key, tensor in model.policy.state_dict().items()}
    model.learn(130)
    after = model.policy.state_dict()
    moved = {key for key in before if "mask_policy" not in key and not torch.equal(before[key], after[key])}
    is_trained = {key for key, parameter in model.policy.named_parameters() if parameter.requires_grad}
    assert any("language_model" in key for key in moved & is_trained)
    assert all(tensor.isfinite().all() for tensor in after.values())
    if name in ("frozen_layer", "adapter"):
        assert moved <= is_trained
    if name == "separate_critic":
        assert any("value_trunk" in key for key in moved)
    model.save(tmp_path / "saved")
    assert_equal_weights(model, KINDS[kind].algorithm.load(tmp_path / "saved", device="cpu"))


SAVING = [(k, o) for k in KINDS for o in ("micro_batches", "checkpointed_blocks") if (k, o) not in REFUSED]


@pytest.mark.parametrize(("kind", "name"), SAVING)
def test_saving_memory_does_not_change_what_is_learned(kind: str, name: str) -> None:
    initial: Any = language_model()
    plain, saving = (
        make(KINDS[kind], policy_kwargs={"model": initial, **options}).learn(130) for options in ({}, OPTIONS[name])
    )
    expected = plain.policy.state_dict()
    assert (expected["language_model.transformer.wte.weight"] - initial.transformer.wte.weight).abs().max() > 2e-3
    for key, tensor in saving.policy.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], atol=2e-4, rtol=0)
