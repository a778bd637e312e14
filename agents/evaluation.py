"""Judge a policy on many prompts at once, by its completions."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from textgym.task import TextTask

from .decoder import SAMPLED, Sampling
from .diversity import distinct_share, self_bleu
from .environments import as_text_environment, find_text_environment
from .episode_buffer import EpisodeBuffer
from .generation import generate_episodes
from .judging import JudgedEpisode, judge_episodes, to_record
from .language_policy import LanguagePolicy
from .policy import GPT2Policy
from .reference import Reference
from .scoring import Divergence
from .value_policy import ValuePolicy


class Evaluation(NamedTuple):
    """How a policy does on a task.

    Attributes:
        score: Mean score of a completion.
        terms: Mean of each term of the reward, unweighted, over the completions it applies to.
        kl: KL to the reference in nats a completion; None without a reference. At each place of a completion it is
            that of the next token, exact over the vocabulary. Over a sampled completion these sum to an estimate of the
            KL of whole completions that is without bias, and varies less than one from the sampled tokens alone (k1)
            does. Sampled with `top_k` or `top_p`, the policy is what is left after the cut. What always takes the best
            token, a value-based policy or greedy sampling, is certain of it.
        n_tokens: Mean tokens a completion.
        ended_share: Share of completions that ended before the token budget.
        perplexity: Of all generated tokens together under the reference; None without one.
        distinct_1: Distinct tokens as a share of all generated tokens.
        distinct_2: Distinct pairs of neighbouring tokens as a share of all pairs.
        self_bleu: Mean BLEU of a completion's tokens with the other completions as references.
        episodes: The episodes, in order.
    """

    score: float
    terms: dict[str, float]
    kl: float | None
    n_tokens: float
    ended_share: float
    perplexity: float | None
    distinct_1: float
    distinct_2: float
    self_bleu: float
    episodes: list[JudgedEpisode]

    def __repr__(self) -> str:
        """Return the figures, and how many episodes they are of."""
        figures = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields[:-1], self, strict=False))
        return f"Evaluation({figures}, episodes=[{len(self.episodes)}])"


def evaluate(
    policy: LanguagePolicy | ValuePolicy | BaseAlgorithm,
    task: TextTask | GymEnv | VectorEnv[Any, Any, Any] | str,
    n_episodes: int = 256,
    *,
    seed: int = 0,
    sampling: Sampling = SAMPLED,
    reference: Reference | None = None,
    num_rows: int = 128,
) -> Evaluation:
    """Generate completions with a policy and judge them.

    Args:
        policy: A policy, or an algorithm that has one. A value-based one does not explore.
        task: Gives prompts and reward: a task, or what algorithms take for an environment (a TextGym id, Env, VectorEnv
            or VecEnv), whose task it is then; the environment itself is not stepped. Make it with
            `prompt_order="sequential"` to visit each prompt equally often.
        n_episodes: Number of completions, at least 1.
        seed: Decides all random numbers.
        sampling: How tokens are chosen.
        reference: What KL and perplexity are measured against.
        num_rows: Episodes that are generated side by side; does not change the result.

    Returns:
        Means over the completions, and these.

    Raises:
        ValueError: If `n_episodes` is below 1, or the environment is none of TextGym's or has a wrapper that would be
            bypassed.
        TypeError: If the policy is none on a language model.
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes must be at least 1, got {n_episodes}.")
    network = policy.policy if isinstance(policy, BaseAlgorithm) else policy
    if isinstance(network, ValuePolicy):
        network = network.network
    if not isinstance(network, LanguagePolicy):
        raise TypeError(
            "evaluate needs a GPT2Policy, GPT2QPolicy or GPT2QuantilePolicy, or an algorithm that has one, got "
            f"{type(network).__name__}."
        )
    if not isinstance(task, TextTask):
        task = find_text_environment(as_text_environment(task)).task
    was_training = network.training
    network.set_training_mode(False)
    try:
        generated = generate_episodes(network, task, range(n_episodes), seed=seed, num_rows=num_rows, sampling=sampling)
        judged = list(judge_episodes(task, generated))
        kl = perplexity = None
        if reference is not None:
            divergence = _divergence(network, reference, judged, sampling)
            kl = float(divergence.kl.double().sum()) / n_episodes
            perplexity = math.exp(-float(divergence.ref_log_prob.double().mean()))
    finally:
        network.set_training_mode(was_training)
    texts = [item.episode.text for item in judged]
    tokens = [text.token_ids for text in texts]
    return Evaluation(
        score=_mean([item.judgement.score for item in judged]),
        terms={
            name: _mean([value for item in judged if (value := item.judgement.terms[name]) is not None])
            for name in judged[0].judgement.terms
        },
        kl=kl,
        n_tokens=_mean([len(ids) for ids in tokens]),
        ended_share=_mean([text.finish_reason != "length" for text in texts]),
        perplexity=perplexity,
        distinct_1=distinct_share(tokens, 1),
        distinct_2=distinct_share(tokens, 2),
        self_bleu=self_bleu(tokens),
        episodes=judged,
    )


def _divergence(
    network: LanguagePolicy, reference: Reference, judged: Sequence[JudgedEpisode], sampling: Sampling
) -> Divergence:
    """Return how far a policy is from its reference at each generated token, episode by episode."""
    buffer = EpisodeBuffer(1, network.observation_space, network.action_space, network.device)
    buffer.fill([to_record(item.episode, item.rewards) for item in judged])
    if isinstance(network, GPT2Policy) and not sampling.deterministic:
        return reference.divergence(network, buffer, sampling.top_k, sampling.top_p)
    # All probability lies on the best token, so that what the reference thinks of the others does not count.
    log_prob = reference.log_prob(buffer)
    return Divergence(-log_prob, log_prob)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
