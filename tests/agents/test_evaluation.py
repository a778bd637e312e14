"""Judging a policy by its completions: each figure against one that is counted by hand."""

import math
from typing import Any

import pytest
import stable_baselines3
import torch
from stable_baselines3.common.env_util import make_vec_env

from tests.agents.tiny import exactly, full_logits, language_model, letter_policy, letter_task, share_of_a
from textgym.agents import Sampling, evaluate
from textgym.agents.diversity import distinct_share, self_bleu
from textgym.agents.reference import Reference


def test_the_figures_are_those_of_the_episodes() -> None:
    task = letter_task(prompt_order="sequential", banned_token_ids=[3])
    policy = letter_policy(task)
    result = evaluate(policy, task, 40)
    texts = [item.episode.text for item in result.episodes]
    assert [text.prompt.text for text in texts[:5]] == ["a", "bcd", "ef", "ghijk", "a"]
    scores = [text.text.count("a") + 0.1 * len(text.text) for text in texts]
    assert result.score == pytest.approx(sum(scores) / 40)
    assert result.terms == {"share_of_a": pytest.approx(result.score)}
    assert result.n_tokens == sum(len(text.token_ids) for text in texts) / 40
    assert result.ended_share == sum(text.finish_reason == "eos" for text in texts) / 40
    assert 0 < result.ended_share < 1
    assert result.distinct_2 == distinct_share([text.token_ids for text in texts], 2)
    assert result.self_bleu == self_bleu([text.token_ids for text in texts])
    assert result.perplexity is None
    assert result.kl is None


class OnlyWhereItApplies:
    """Judges texts after the prompt "a" only."""

    def __call__(self, prompts: list[str], completions: list[str], **columns: object) -> list[float | None]:
        return [float(len(text)) if prompt == "a" else None for prompt, text in zip(prompts, completions, strict=True)]


def test_a_term_is_averaged_over_the_completions_it_applies_to() -> None:
    task = letter_task(reward=OnlyWhereItApplies(), prompt_order="sequential")
    result = evaluate(letter_policy(task), task, 8)
    texts = [item.episode.text for item in result.episodes]
    lengths = [len(text.text) for text in texts if text.prompt.text == "a"]
    assert len(lengths) == 2
    assert result.terms == {"only_where_it_applies": pytest.approx(sum(lengths) / 2)}
    assert result.score == pytest.approx(sum(lengths) / 8)


def test_neither_rows_nor_what_was_before_change_the_result() -> None:
    task = letter_task()
    policy = letter_policy(task)
    results = []
    for num_rows in (1, 7, 128):
        torch.rand(5)
        results.append(evaluate(policy, task, 30, seed=3, num_rows=num_rows))
    first = results[0]
    for result in results[1:]:
        assert [item.episode.text for item in result.episodes] == [item.episode.text for item in first.episodes]
        assert result.score == first.score
    assert evaluate(policy, task, 30, seed=4).score != first.score


def test_the_kl_is_that_of_whole_completions_under_both_models() -> None:
    """By plain forward passes of the two language models, token by token; and so is perplexity."""
    task = letter_task()
    policy, other = letter_policy(task), letter_policy(task, language_model(seed=4))
    result = evaluate(policy, task, 12, reference=Reference(policy, other.language_model))
    total = nats = 0.0
    for item in result.episodes:
        context = list(item.episode.text.prompt.token_ids)
        for token in item.episode.text.token_ids:
            ours, theirs = (full_logits(each, context).log_softmax(-1)[token] for each in (policy, other))
            total += float(ours - theirs)
            nats -= float(theirs)
            context.append(token)
    assert result.kl == pytest.approx(total / 12, abs=1e-4)
    n_tokens = sum(len(item.episode.text.token_ids) for item in result.episodes)
    assert result.perplexity == pytest.approx(math.exp(nats / n_tokens), rel=1e-4)
    assert evaluate(policy, task, 12, reference=Reference(policy)).kl == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("mode", [True, False])
def test_the_training_mode_is_left_as_it_was(mode: bool) -> None:
    task = letter_task()
    policy = letter_policy(task)
    policy.set_training_mode(mode)
    evaluate(policy, task, 2)
    assert policy.training == mode


def test_greedy_completions_of_a_prompt_are_all_the_same() -> None:
    task = letter_task(prompts=["ab"])
    result = evaluate(letter_policy(task), task, 6, sampling=Sampling(deterministic=True))
    assert len({item.episode.text.text for item in result.episodes}) == 1


def test_what_cannot_be_evaluated_is_an_error() -> None:
    task = letter_task()
    with pytest.raises(ValueError, match=exactly("n_episodes must be at least 1, got 0.")):
        evaluate(letter_policy(task), task, 0)
    other: Any = stable_baselines3.PPO("MlpPolicy", make_vec_env("CartPole-v1"), device="cpu")
    message = (
        "evaluate needs a GPT2Policy, GPT2QPolicy or GPT2QuantilePolicy, or an algorithm that has one, got "
        "ActorCriticPolicy."
    )
    with pytest.raises(TypeError, match=exactly(message)):
        evaluate(other, task)
    with pytest.raises(ValueError, match="The policy allows other tokens than the task"):
        evaluate(letter_policy(task), letter_task(banned_token_ids=[0]))


def test_rewards_of_the_task_are_those_evaluated() -> None:
    task = letter_task(reward=share_of_a)
    doubled = letter_task(reward=lambda prompts, completions, **_: [2 * x for x in share_of_a(prompts, completions)])
    policy = letter_policy(task)
    assert evaluate(policy, doubled, 10).score == pytest.approx(2 * evaluate(policy, task, 10).score)
