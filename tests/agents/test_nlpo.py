"""NLPO: candidates are those of the mask policy, stored, and scored among; the mask policy is renewed when said."""

import math
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch

from tests.agents.test_ppo import FirstMinibatch
from tests.agents.tiny import exactly, full_logits, gpt2_config, language_model, letter_task
from tests.agents.twins import collect, generated_tokens, make_case, train_both
from textgym.agents import NLPO, PPO, NucleusPolicy, TextGenVecEnv, evaluate
from textgym.agents.candidates import unpack_candidates
from textgym.agents.generation import generate_episodes
from textgym.agents.reference import Reference
from textgym.agents.scoring import score_tokens
from textgym.task import TextTask


def algorithm(task: TextTask | None = None, **settings: Any) -> NLPO:
    defaults = {"n_steps": 30, "n_epochs": 2, "batch_size": 40, "seed": 0, "device": "cpu", "learning_rate": 1e-2}
    env = TextGenVecEnv(3, letter_task() if task is None else task)
    kwargs = {"model": language_model()}
    return NLPO("GPT2Policy", env, **{**defaults, "policy_kwargs": kwargs, "top_p": 0.7, **settings})


def nucleus(logits: torch.Tensor, top_p: float, temperature: float = 1.0) -> set[int]:
    """The most probable tokens, one by one, until they have the probability asked for."""
    probabilities = torch.softmax(logits.double() / temperature, dim=0).tolist()
    chosen: set[int] = set()
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        if sum(probabilities[one] for one in chosen) < top_p:
            chosen.add(token)
    return chosen


def stored_sets(model: NLPO) -> list[set[int]]:
    candidates = model.rollout_buffer.candidates
    assert candidates is not None
    assert candidates.dtype == torch.uint8
    assert candidates.shape == (model.rollout_buffer.n_tokens, 2)
    return [set(row.nonzero()[:, 0].tolist()) for row in unpack_candidates(candidates, 12)]


def assert_sets_are_nuclei_of(model: NLPO, network: Any, temperature: float) -> None:
    buffer, sets, position = model.rollout_buffer, stored_sets(model), 0
    for number, generated in enumerate(generated_tokens(buffer)):
        prompt = list(model.task.prompts[number % len(model.task.prompts)].token_ids)
        for step, token in enumerate(generated):
            with torch.no_grad():
                logits = network(input_ids=torch.tensor([prompt + generated[:step]])).logits[0, -1]
            assert sets[position] == nucleus(logits, 0.7, temperature)
            assert token in sets[position]
            position += 1
    assert position == len(sets)


def test_candidates_are_the_nucleus_of_the_mask_policy_before_and_after_it_is_renewed() -> None:
    """Computed by hand, token by token, from the language models' plain forward passes."""
    task = letter_task(prompt_order="sequential")
    kwargs = {"model": language_model(), "temperature": 0.8}
    model = algorithm(task, mask_update_interval=2, policy_kwargs=kwargs)
    initial = language_model()
    collect(model)
    assert_sets_are_nuclei_of(model, initial, 0.8)
    assert 1 < np.mean([len(one) for one in stored_sets(model)]) < 11
    for n_trained in (1, 2, 3):
        model.set_logger(stable_baselines3.common.logger.configure(None, []))
        model.train()
        mask = model.policy.mask_policy.language_model.state_dict()
        own = model.policy.language_model.state_dict()
        is_renewed = all(torch.equal(mask[name], own[name]) for name in own)
        assert is_renewed == (n_trained == 2)
        if n_trained == 2:
            model.n_episodes_started = 0
            collect(model)
            assert_sets_are_nuclei_of(model, model.policy.language_model, 0.8)
    assert not torch.equal(full_logits(model.policy, [0]), initial(input_ids=torch.tensor([[0]])).logits[0, -1])


def test_the_first_minibatchs_ratio_is_1_whatever_the_mask_has_become() -> None:
    """With rules, temperature and replayed episodes, whose candidates are older than the mask."""
    task = letter_task(banned_token_ids=[3], min_new_tokens=2)
    kwargs = {"model": language_model(), "temperature": 0.7}
    model = algorithm(task, policy_kwargs=kwargs, n_epochs=1, mask_update_interval=2, self_imitation=0.5)
    watched = FirstMinibatch(model)  # type: ignore[arg-type]
    model.learn(500)
    assert len(watched.ratios) >= 4
    for ratio in watched.ratios:
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=2e-4, rtol=0)


def test_with_all_tokens_as_candidates_it_is_ppo() -> None:
    runs = []
    for kind, settings in ((NLPO, {"top_p": 1.0, "mask_update_interval": 1}), (PPO, {})):
        env = TextGenVecEnv(3, letter_task(min_new_tokens=1))
        model = kind(
            "GPT2Policy", env, n_steps=30, n_epochs=2, batch_size=40, seed=0, device="cpu", learning_rate=1e-2,
            policy_kwargs={"model": language_model()}, **settings,  # type: ignore[arg-type]
        )  # fmt: skip
        runs.append(model.learn(300).policy)
    ours, theirs = (dict(policy.language_model.state_dict()) for policy in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(runs[0].value_net.weight, runs[1].value_net.weight)


@pytest.mark.equality
@pytest.mark.parametrize("arguments", [{}, {"min_new_tokens": 2, "banned_token_ids": [3]}], ids=["plain", "rules"])
def test_an_update_equals_plain_sb3s_ppo_with_the_same_mask(arguments: dict[str, Any]) -> None:
    """There nothing is stored: the policy asks the mask policy anew at each single context."""
    case = make_case(
        letter_task(prompt_order="sequential", **arguments), NLPO, stable_baselines3.PPO, plain_policy=NucleusPolicy,
        gamma=0.95, gae_lambda=0.9, n_epochs=4, ours_alone={"batch_size": 40},
    )  # fmt: skip
    assert train_both(case) <= 1


def test_what_is_generated_does_not_depend_on_the_number_of_rows() -> None:
    """Rows are refilled and dropped; the mask policy's cache has to follow."""
    task = letter_task()
    model = algorithm(task).learn(100)
    texts, sets = [], []
    for num_rows in (1, 3, 64):
        episodes = list(generate_episodes(model.policy, task, range(40), seed=3, num_rows=num_rows, lookahead=2))
        texts.append([item.text.token_ids for item in episodes])
        sets.append([item.candidates.tolist() for item in episodes if item.candidates is not None])
    assert texts[0] == texts[1] == texts[2]
    assert sets[0] == sets[1] == sets[2]
    assert len(sets[0]) == 40


def test_evaluation_samples_among_candidates_and_compares_with_the_whole_reference() -> None:
    model = algorithm(mask_update_interval=1).learn(200)
    result = evaluate(model, letter_task(), 12, reference=model.find_reference())
    other = language_model()
    total = 0.0
    for item in result.episodes:
        assert item.episode.candidates is not None
        context = list(item.episode.text.prompt.token_ids)
        kept = unpack_candidates(item.episode.candidates, 12)
        for token, is_candidate in zip(item.episode.text.token_ids, kept, strict=True):
            ours = full_logits(model.policy, context)[is_candidate].log_softmax(-1)
            with torch.no_grad():
                theirs = other(input_ids=torch.tensor([context])).logits[0, -1].log_softmax(-1)[is_candidate]
            total += float((ours.exp() * (ours - theirs)).sum())
            context.append(token)
    assert result.kl == pytest.approx(total / 12, rel=1e-3)


def test_before_training_the_cut_alone_is_the_distance_to_the_reference() -> None:
    whole = algorithm(top_p=1.0)
    assert evaluate(whole, letter_task(), 60, reference=whole.find_reference()).kl == pytest.approx(0, abs=1e-3)
    cut = algorithm()
    result = evaluate(cut, letter_task(), 60, reference=cut.find_reference())
    n_tokens = sum(len(item.episode.text.token_ids) for item in result.episodes)
    assert result.kl is not None
    # A set with at least 0.7 of the probability is at most -log 0.7 away at each token.
    assert 0 < result.kl <= -math.log(0.7) * n_tokens / 60 + 1e-6


def test_predict_chooses_among_candidates() -> None:
    model = algorithm(top_p=0.4)
    observation: Any = TextGenVecEnv(1, letter_task()).reset()
    many = {key: np.repeat(array, 300, axis=0) for key, array in observation.items()}
    prompt = observation["input_ids"][0, : observation["attention_mask"][0].sum()].tolist()
    expected = nucleus(full_logits(model.policy, prompt), 0.4)
    assert set(model.predict(many)[0].tolist()) == expected
    assert len(set(model.predict(many, top_k=1)[0].tolist())) == 1


def test_the_mask_policy_does_not_learn() -> None:
    model = algorithm(mask_update_interval=100)
    before = {name: tensor.clone() for name, tensor in model.policy.mask_policy.state_dict().items()}
    model.learn(200)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.policy.mask_policy.state_dict().items())
    n_learning = sum(len(group["params"]) for group in model.policy.optimizer.param_groups)
    assert n_learning == len([one for one in model.policy.parameters() if one.requires_grad])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5."),
        ({"mask_update_interval": 0}, "mask_update_interval must be at least 1, got 0."),
        ({"batch_size": 1}, "batch_size must be at least 2 tokens, got 1."),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(**settings, policy_kwargs={"model": gpt2_config()})


@pytest.mark.parametrize(("name", "given"), [("frozen_layers", 1), ("lora", 2)])
def test_a_model_that_is_not_trained_as_a_whole_is_an_error(name: str, given: int) -> None:
    message = (
        f"{name} must be left out with NLPO, whose mask policy is a whole copy of the model, got {given}; PPO takes it."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(policy_kwargs={"model": gpt2_config(), name: given})


def test_another_policys_cache_is_an_error() -> None:
    policy = algorithm().policy
    token = torch.zeros((2, 1), dtype=torch.long)
    with pytest.raises(TypeError, match=exactly("cache must come from make_cache of this policy, got RowCache.")):
        policy.cached_hidden_states(token, token, policy.mask_policy.make_cache(2, 8))


def test_its_policy_can_be_a_reference_of_another_s_texts() -> None:
    """Which come without candidates: it finds its own, by hidden states that lie beside its own."""
    task = letter_task()
    model = algorithm(task)
    other = PPO(
        "GPT2Policy",
        TextGenVecEnv(2, task),
        n_steps=20,
        seed=0,
        device="cpu",
        policy_kwargs={"model": language_model()},
    )
    other.learn(40)
    reference = Reference(model.policy)
    expected = score_tokens(reference.policy, other.rollout_buffer).log_prob
    torch.testing.assert_close(reference.log_prob(other.rollout_buffer), expected, atol=1e-5, rtol=1e-5)
