"""What a policy made of each token, against the language models' own logits, one context at a time."""

from typing import Any

import pytest
import torch

from tests.agents.tiny import full_logits, gpt2_config, language_model, letter_task, waken_critic
from textgym.agents import DQN, GRPO, NLPO, PPO, TextGenVecEnv
from textgym.agents.candidates import unpack_candidates
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import judge_episodes
from textgym.training.token_view import view_tokens

FIGURES = {"value", "advantage", "kl", "log_prob_ratio", "entropy"}


def reference_model() -> Any:
    return language_model(gpt2_config(initializer_range=0.3))


def algorithm(kind: type[Any] = PPO, **settings: Any) -> Any:
    """An algorithm on the letter task whose critic, where it has one, does not say 0."""
    options = {"policy_kwargs": {"model": language_model()}, "reference": reference_model(), "seed": 0, "device": "cpu"}
    task = letter_task(completions_per_prompt=4) if kind is GRPO else letter_task()
    model = kind("GPT2Policy", TextGenVecEnv(4, task), **{**options, **settings})
    if kind in (PPO, NLPO):
        waken_critic(model.policy)
    return model


def test_distances_and_entropy_are_what_single_contexts_say() -> None:
    task, model = letter_task(prompt_order="sequential"), algorithm()
    views = view_tokens(model, task, 4, seed=1)
    assert [view["prompt"] for view in views] == [prompt.text for prompt in task.prompts]
    for view, prompt in zip(views, task.prompts, strict=True):
        context = list(prompt.token_ids)
        for index, token in enumerate(view["tokens"]):
            ours = torch.log_softmax(full_logits(model.policy, context), dim=-1)
            theirs = torch.log_softmax(full_logits(model.find_reference().policy, context), dim=-1)
            token_id = task.tokenizer.get_vocab()[token]
            assert view["entropy"][index] == pytest.approx(-float((ours.exp() * ours).sum()), abs=1e-4)
            assert view["kl"][index] == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-4)
            assert view["log_prob_ratio"][index] == pytest.approx(float(ours[token_id] - theirs[token_id]), abs=1e-4)
            context.append(token_id)
        assert any(value != 0 for value in view["value"])


@pytest.mark.parametrize("potential_shaping", [False, True])
def test_values_and_advantages_are_those_that_training_learns_from(potential_shaping: bool) -> None:
    task = letter_task(prompt_order="sequential")
    model = algorithm(gamma=0.9, gae_lambda=0.8, kl_coef=0.3, potential_shaping=potential_shaping)
    views = view_tokens(model, task, 4, seed=1)
    judged = judge_episodes(task, generate_episodes(model.policy, task, range(4), seed=1), potential_shaping, 0.9)
    for view, item in zip(views, judged, strict=True):
        # The price of KL by k1, which is the log-probability ratio.
        rewards = [
            reward - 0.3 * ratio for reward, ratio in zip(item.rewards.tolist(), view["log_prob_ratio"], strict=True)
        ]
        values = [*item.episode.values.tolist(), 0.0]
        advantage, expected = 0.0, []
        for index in reversed(range(len(rewards))):
            advantage = rewards[index] + 0.9 * values[index + 1] - values[index] + 0.9 * 0.8 * advantage
            expected.append(advantage)
        assert view["value"] == pytest.approx(values[:-1], abs=1e-4)
        assert view["advantage"] == pytest.approx(expected[::-1], abs=1e-4)


def test_a_critic_with_its_own_trunk_says_its_values() -> None:
    model = algorithm(policy_kwargs={"model": language_model(), "critic": "separate"})
    assert all(any(value != 0 for value in view["value"]) for view in view_tokens(model, letter_task(), 3, seed=0))


def test_an_algorithm_without_a_critic_has_no_values_and_no_credit_for_single_tokens() -> None:
    for view in view_tokens(algorithm(GRPO), letter_task(), 2, seed=0):
        assert view.keys() & FIGURES == {"kl", "log_prob_ratio", "entropy"}


def test_a_nucleus_is_compared_with_the_whole_reference() -> None:
    task, model = letter_task(prompt_order="sequential"), algorithm(NLPO, top_p=0.6)
    views = view_tokens(model, task, 4, seed=1)
    episodes = list(generate_episodes(model.policy, task, range(4), seed=1))
    is_cut = False
    for view, episode in zip(views, episodes, strict=True):
        context = list(episode.text.prompt.token_ids)
        assert episode.candidates is not None
        for index, is_candidate in enumerate(unpack_candidates(episode.candidates, 12)):
            ours = torch.log_softmax(full_logits(model.policy, context)[is_candidate], dim=-1)
            theirs = torch.log_softmax(full_logits(model.find_reference().policy, context), dim=-1)[is_candidate]
            assert view["kl"][index] == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-4)
            assert view["entropy"][index] == pytest.approx(-float((ours.exp() * ours).sum()), abs=1e-4)
            is_cut = is_cut or not is_candidate.all()
            context.append(episode.text.token_ids[index])
    assert is_cut


def test_a_policy_that_takes_the_best_token_is_certain_of_it() -> None:
    task, model = letter_task(prompt_order="sequential"), algorithm(DQN, gamma=0.9)
    for view, prompt in zip(view_tokens(model, task, 4, seed=1), task.prompts, strict=True):
        assert view.keys() & FIGURES == {"value", "advantage", "kl"}
        context = list(prompt.token_ids)
        for index, token in enumerate(view["tokens"]):
            token_id = task.tokenizer.get_vocab()[token]
            theirs = torch.log_softmax(full_logits(model.find_reference().policy, context), dim=-1)
            assert view["kl"][index] == pytest.approx(-float(theirs[token_id]), abs=1e-4)
            n_left = len(view["tokens"]) - index
            # Only the last token is paid, and values begin at 0.
            assert view["advantage"][index] == pytest.approx(view["score"] * 0.9 ** (n_left - 1), abs=1e-4)
            context.append(token_id)


def test_the_first_model_has_no_distance_from_itself_and_without_a_reference_there_is_none() -> None:
    for view in view_tokens(algorithm(reference="initial"), letter_task(), 3, seed=0):
        assert view["kl"] == pytest.approx([0.0] * len(view["tokens"]), abs=1e-5)
    (view,) = view_tokens(algorithm(reference=None), letter_task(), 1, seed=0)
    assert view.keys() & FIGURES == {"value", "advantage", "entropy"}
