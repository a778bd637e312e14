"""Judging a policy by its completions: each figure against one that is counted by hand."""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import stable_baselines3
import torch
from gymnasium.wrappers import OrderEnforcing, TransformReward
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from tests.agents.tiny import EOS, exactly, full_logits, language_model, letter_policy, letter_task, share_of_a
from textgym.agents import DQN, GPT2Policy, Sampling, TextGenVecEnv, evaluate, scoring
from textgym.agents.diversity import distinct_share, self_bleu
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.evaluation import Evaluation
from textgym.agents.judging import to_record
from textgym.agents.kl import exact_kl
from textgym.agents.reference import Reference
from textgym.completion import TextGenCompletionEnv
from textgym.env import TextGenEnv
from textgym.reward_protocol import RewardError
from textgym.task import TextTask
from textgym.vector import TextGenVectorEnv


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
    assert result.distinct_1 == distinct_share([text.token_ids for text in texts], 1)
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


def test_the_kl_is_exact_at_each_place_of_each_completion() -> None:
    """By plain forward passes of the two language models and sums over the vocabulary; and perplexity by the token."""
    task = letter_task(banned_token_ids=[3], min_new_tokens=2)
    policy = letter_policy(task, temperature=0.7)
    other = letter_policy(task, language_model(seed=4), temperature=0.7)
    result = evaluate(policy, task, 12, reference=Reference(policy, other.language_model))
    total = nats = 0.0
    for item in result.episodes:
        token_ids = item.episode.text.token_ids
        context = list(item.episode.text.prompt.token_ids)
        for place, token in enumerate(token_ids):
            forbidden = [3, EOS] if place < 2 else [3]
            ours, theirs = (_distribution(each, context, forbidden) for each in (policy, other))
            total += sum(p * math.log(p / q) for p, q in zip(ours, theirs, strict=True) if p > 0)
            nats -= math.log(theirs[token])
            context.append(token)
    assert result.kl == pytest.approx(total / 12, abs=1e-4)
    n_tokens = sum(len(item.episode.text.token_ids) for item in result.episodes)
    assert result.perplexity == pytest.approx(math.exp(nats / n_tokens), rel=1e-4)
    assert evaluate(policy, task, 12, reference=Reference(policy)).kl == pytest.approx(0, abs=1e-4)


def _distribution(policy: GPT2Policy, context: list[int], forbidden: list[int]) -> list[float]:
    """Return the probability of each next token at temperature 0.7."""
    weights = (full_logits(policy, context).double() / 0.7).exp()
    weights[forbidden] = 0
    return [float(weight) for weight in weights / weights.sum()]


def test_the_kl_is_that_of_whole_completions_and_varies_less_than_its_estimate_from_sampled_tokens() -> None:
    """All completions of up to three of four tokens: their KL by enumeration, and by 600 samples."""
    task = letter_task(prompts=["a"], allowed_token_ids=[0, 1, 2, EOS], max_new_tokens=3)
    policy, other = letter_policy(task), letter_policy(task, language_model(seed=4))
    reference = Reference(policy, other.language_model)
    forbidden = [token for token in range(EOS) if token > 2]

    def kl_of_completions(context: list[int], ratio: float, probability: float, n_left: int) -> float:
        if n_left == 0 or (len(context) > 1 and context[-1] == EOS):
            return probability * ratio
        total = 0.0
        ours, theirs = ((full_logits(each, context).index_fill(0, torch.tensor(forbidden), -torch.inf)).log_softmax(-1)
                        for each in (policy, other))  # fmt: skip
        for token in (0, 1, 2, EOS):
            p, q = float(ours[token]), float(theirs[token])
            total += kl_of_completions([*context, token], ratio + p - q, probability * math.exp(p), n_left - 1)
        return total

    expected = kl_of_completions(list(task.prompts[0].token_ids), 0.0, 1.0, 3)
    result = evaluate(policy, task, 600, reference=reference)
    buffer = EpisodeBuffer(1, policy.observation_space, policy.action_space)
    buffer.fill([to_record(item.episode, item.rewards) for item in result.episodes])
    exact = _per_completion(reference.divergence(policy, buffer).kl, buffer)
    estimated = _per_completion(buffer.old_log_prob - reference.log_prob(buffer), buffer)
    assert result.kl == pytest.approx(float(exact.mean()), abs=1e-6)
    for sums in (exact, estimated):
        assert float(sums.mean()) == pytest.approx(expected, abs=4 * float(sums.std()) / 600**0.5)
    assert exact.std() < 0.7 * estimated.std()
    assert expected > 0.1


def _per_completion(values: torch.Tensor, buffer: EpisodeBuffer) -> torch.Tensor:
    return torch.stack([part.sum() for part in values.split(buffer.lengths.tolist())])


def test_the_kl_is_the_same_however_few_decisions_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = letter_task()
    policy = letter_policy(task)
    reference = Reference(policy, language_model(seed=4))
    whole = evaluate(policy, task, 12, reference=reference)
    sizes = []

    def counted(logits: torch.Tensor, other_logits: torch.Tensor) -> torch.Tensor:
        sizes.append(len(logits))
        return exact_kl(logits, other_logits)

    monkeypatch.setattr(scoring, "LOGITS_PER_COMPARISON", 3 * task.vocab_size)
    monkeypatch.setattr(scoring, "exact_kl", counted)
    parts = evaluate(policy, task, 12, reference=reference)
    assert max(sizes) == 3
    assert parts.kl == pytest.approx(whole.kl)
    assert parts.perplexity == pytest.approx(whole.perplexity)


def test_a_value_based_policy_is_certain_of_its_best_token() -> None:
    """Its KL is what the reference's log-probability of its text falls short of 0, whatever its other values are."""
    task = letter_task()
    model = DQN("GPT2QPolicy", TextGenVecEnv(1, task), policy_kwargs={"model": language_model()}, seed=0, device="cpu")
    reference = model.find_reference()
    assert reference is not None
    result = evaluate(model, task, 8, reference=reference)
    nats = nats_of_texts(reference, result)
    assert result.kl == pytest.approx(nats / 8, abs=1e-4)
    assert nats > 8


def test_a_policy_that_takes_the_best_token_is_certain_of_it() -> None:
    task = letter_task()
    policy = letter_policy(task)
    reference = Reference(policy, language_model(seed=4))
    result = evaluate(policy, task, 8, sampling=Sampling(deterministic=True), reference=reference)
    nats = nats_of_texts(reference, result)
    assert result.kl == pytest.approx(nats / 8, abs=1e-4)
    assert result.perplexity == pytest.approx(math.exp(nats / (8 * result.n_tokens)), rel=1e-4)


def test_a_policy_that_is_cut_to_its_best_token_is_as_far_as_one_that_takes_it() -> None:
    task = letter_task()
    policy = letter_policy(task)
    reference = Reference(policy, language_model(seed=4))
    greedy, cut, wide = (
        evaluate(policy, task, 8, sampling=sampling, reference=reference)
        for sampling in (Sampling(deterministic=True), Sampling(top_k=1), Sampling(top_p=1e-6))
    )
    assert cut.kl == wide.kl == pytest.approx(greedy.kl, abs=1e-4)


def test_the_kl_of_a_cut_policy_is_that_of_what_is_sampled() -> None:
    task = letter_task()
    policy, other = letter_policy(task), letter_policy(task, language_model(seed=4))
    result = evaluate(policy, task, 8, sampling=Sampling(top_k=3), reference=Reference(policy, other.language_model))
    total = 0.0
    for item in result.episodes:
        context = list(item.episode.text.prompt.token_ids)
        for token in item.episode.text.token_ids:
            logits = full_logits(policy, context).double()
            ours = logits.masked_fill(logits < logits.topk(3).values[-1], -torch.inf).log_softmax(-1)
            theirs = full_logits(other, context).double().log_softmax(-1)
            total += float(sum(p.exp() * (p - q) for p, q in zip(ours, theirs, strict=True) if p > -torch.inf))
            context.append(token)
    assert result.kl == pytest.approx(total / 8, abs=1e-4)


def nats_of_texts(reference: Reference, result: Evaluation) -> float:
    """What the reference's log-probabilities of all texts fall short of 0."""
    nats = 0.0
    for item in result.episodes:
        context = list(item.episode.text.prompt.token_ids)
        for token in item.episode.text.token_ids:
            nats -= float(full_logits(reference.policy, context).log_softmax(-1)[token])
            context.append(token)
    return nats


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


@pytest.mark.parametrize(
    "make",
    [
        lambda task: Monitor(OrderEnforcing(TextGenEnv(task))),
        lambda task: TextGenVectorEnv(2, task),
        lambda task: VecMonitor(TextGenVecEnv(2, task)),
        lambda task: DummyVecEnv([lambda: TextGenEnv(task)]),
        TextGenCompletionEnv,
    ],
)
def test_an_environment_stands_for_its_task(make: Callable[[TextTask], Any]) -> None:
    task = letter_task()
    policy = letter_policy(task)
    assert evaluate(policy, make(task), 6).score == evaluate(policy, task, 6).score


def make_letter_env() -> TextGenEnv:
    return TextGenEnv(letter_task())


def test_an_id_stands_for_its_task() -> None:
    gym.register("LetterTask-v0", entry_point="tests.agents.test_evaluation:make_letter_env")
    try:
        policy = letter_policy(letter_task())
        assert evaluate(policy, "LetterTask-v0", 6).score == evaluate(policy, letter_task(), 6).score
    finally:
        del gym.registry["LetterTask-v0"]


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
    with pytest.raises(ValueError, match=r"got CartPoleEnv\. Train other environments"):
        evaluate(letter_policy(task), gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"^The wrapper TransformReward would be bypassed"):
        evaluate(letter_policy(task), TransformReward(TextGenEnv(task), lambda reward: 2 * float(reward)))
    with pytest.raises(ValueError, match="The policy allows other tokens than the task"):
        evaluate(letter_policy(task), letter_task(banned_token_ids=[0]))


def test_rewards_of_the_task_are_those_evaluated() -> None:
    task = letter_task(reward=share_of_a)
    doubled = letter_task(reward=lambda prompts, completions, **_: [2 * x for x in share_of_a(prompts, completions)])
    policy = letter_policy(task)
    assert evaluate(policy, doubled, 10).score == pytest.approx(2 * evaluate(policy, task, 10).score)


def test_it_prints_as_its_figures() -> None:
    task = letter_task()
    evaluation = evaluate(letter_policy(task), task, 5)
    assert repr(evaluation).startswith(f"Evaluation(score={evaluation.score!r}, terms={evaluation.terms!r}, kl=None, ")
    assert repr(evaluation).endswith(f"self_bleu={evaluation.self_bleu!r}, episodes=[5])")


@pytest.mark.parametrize("mode", [True, False])
def test_the_training_mode_is_left_as_it_was_where_the_reward_fails(mode: bool) -> None:
    def fails(completions: list[str], **columns: object) -> list[float]:
        raise OSError("away")

    policy = letter_policy(letter_task())
    policy.set_training_mode(mode)
    with pytest.raises(RewardError, match="away"):
        evaluate(policy, letter_task(reward=fails), 4)
    assert policy.training is mode
