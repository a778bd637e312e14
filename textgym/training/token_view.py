"""What a policy made of each token that it wrote: value, advantage, KL, log-probability ratio and entropy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import JudgedEpisode, judge_episodes, to_record
from textgym.agents.kl import estimate_kl
from textgym.agents.on_policy import SequenceOnPolicyAlgorithm
from textgym.agents.sequence_algorithm import SequenceAlgorithm
from textgym.task import TextTask


@torch.no_grad()
def view_tokens(model: SequenceAlgorithm, task: TextTask, n_completions: int, seed: int) -> list[dict[str, Any]]:
    """Write completions with an algorithm's policy, and say of each token what was made of it.

    Args:
        model: The algorithm, whose rewards, discount and price of KL advantages are estimated with.
        task: Its prompts are completed in order.
        n_completions: How many.
        seed: Decides the random numbers.

    Returns:
        For each completion `prompt`, `completion`, `score`, its `tokens` as text, and for each of these a number where
        the algorithm has one: `value` (of the rewards to come, before the token) and `advantage` (as training would
        estimate it, before it is normalised; of learned Q values at λ = 1), which an algorithm without a critic has
        not; `kl` (to the whole reference, exact over the vocabulary, in nats); `log_prob_ratio` (of the token, policy
        to reference, in nats) and `entropy` (in nats), which a policy that always takes the best token has not.
    """
    policy = model.network
    was_training = policy.training
    policy.set_training_mode(False)
    generated = generate_episodes(policy, task, range(n_completions), seed=seed)
    judged = list(judge_episodes(task, generated, model.potential_shaping, model.gamma))
    if isinstance(model, SequenceOnPolicyAlgorithm):
        figures = _figures_of_actor(model, judged)
    else:
        figures = _figures_of_values(model, judged)
    policy.set_training_mode(was_training)
    sizes = [len(item.rewards) for item in judged]
    by_episode = {name: values.cpu().split(sizes) for name, values in figures.items()}
    return [
        {
            "prompt": item.episode.text.prompt.text,
            "completion": item.episode.text.text,
            "score": item.judgement.score,
            "tokens": [task.tokenizer.decode([token_id]) for token_id in item.episode.text.token_ids],
            **{name: _numbers(values[number]) for name, values in by_episode.items()},
        }
        for number, item in enumerate(judged)
    ]


def _figures_of_actor(model: SequenceOnPolicyAlgorithm, judged: Sequence[JudgedEpisode]) -> dict[str, Tensor]:
    """Return figures of a policy that samples, one entry a token, as its training would have them."""
    policy = model.policy
    buffer = _buffer(model, judged, model.gae_lambda)
    evaluated = []
    for number in range(len(judged)):
        packed = buffer.packed(np.array([number]))
        token_ids = packed["input_ids"][:, 1:][packed["is_decision"][:, :-1]]
        values, log_prob, entropy = policy.evaluate_tokens(packed, token_ids)
        evaluated.append((values[:, 0], log_prob, entropy))
    buffer.old_values, buffer.old_log_prob, entropies = (torch.cat(parts) for parts in zip(*evaluated, strict=True))
    distances = {}
    reference = model.find_reference()
    if reference is not None:
        divergence = reference.divergence(policy, buffer)
        distances = {"kl": divergence.kl, "log_prob_ratio": buffer.old_log_prob - divergence.ref_log_prob}
        paid_for = estimate_kl(buffer.old_log_prob, reference.log_prob(buffer))
        buffer.rewards -= model.kl_price * paid_for
    of_critic = {} if policy.critic is None else _value_and_advantage(buffer)
    return {**of_critic, **distances, "entropy": entropies}


def _figures_of_values(model: SequenceAlgorithm, judged: Sequence[JudgedEpisode]) -> dict[str, Tensor]:
    """Return figures of a policy that takes the token of the highest value, one entry a token."""
    buffer = _buffer(model, judged, gae_lambda=1.0)
    figures = _value_and_advantage(buffer)
    reference = model.find_reference()
    if reference is not None:
        # All probability lies on the best token.
        figures["kl"] = -reference.log_prob(buffer)
    return figures


def _buffer(model: SequenceAlgorithm, judged: Sequence[JudgedEpisode], gae_lambda: float) -> EpisodeBuffer:
    spaces = model.network.observation_space, model.network.action_space
    buffer = EpisodeBuffer(1, *spaces, model.network.device, gae_lambda, model.gamma)
    buffer.fill([to_record(item.episode, item.rewards) for item in judged])
    return buffer


def _value_and_advantage(buffer: EpisodeBuffer) -> dict[str, Tensor]:
    buffer.estimate_returns()
    return {"value": buffer.old_values, "advantage": buffer.advantages}


def _numbers(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.double().tolist()]
