"""What a policy made of each token that it wrote: value, advantage, KL, log-probability ratio and entropy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from textgym.agents.generation import generate_episodes
from textgym.agents.judging import JudgedEpisode, judge_episodes
from textgym.agents.language_policy import LanguagePolicy
from textgym.agents.reference import Reference
from textgym.task import TextTask


@torch.no_grad()
def view_tokens(
    policy: LanguagePolicy, task: TextTask, reference: Reference | None, n_completions: int, seed: int
) -> list[dict[str, Any]]:
    """Write completions with a policy, and say of each token what the policy made of it.

    Args:
        policy: The policy.
        task: Its prompts are completed in order.
        reference: What KL and ratio are measured against; None leaves both out.
        n_completions: How many.
        seed: Decides the random numbers.

    Returns:
        For each completion `prompt`, `completion`, `score`, its `tokens` as text, and for each of these a number:
        `value` (of the critic, before the token), `advantage` (the rewards from the token on less the value, which is
        the advantage at λ = 1 and γ = 1), `kl` (over the whole vocabulary, in nats), `log_prob_ratio` (of the token,
        policy to reference, in nats) and `entropy` (of the policy, in nats).
    """
    was_training = policy.training
    policy.set_training_mode(False)
    generated = generate_episodes(policy, task, range(n_completions), seed=seed)
    views = [_view(policy, task, reference, item) for item in judge_episodes(task, generated)]
    policy.set_training_mode(was_training)
    return views


def _view(policy: LanguagePolicy, task: TextTask, reference: Reference | None, item: JudgedEpisode) -> dict[str, Any]:
    text = item.episode.text
    token_ids = torch.tensor(text.token_ids, device=policy.device)
    observation = _packed(text.prompt.token_ids, text.token_ids, policy.device)
    log_probs = _log_probs(policy, observation)  # (T, V)
    value = item.episode.values.cpu()
    rewards = item.rewards
    to_come = rewards.flip(0).cumsum(0).flip(0)
    view = {
        "prompt": text.prompt.text,
        "completion": text.text,
        "score": item.judgement.score,
        "tokens": [task.tokenizer.decode([token_id]) for token_id in text.token_ids],
        "value": _numbers(value),
        "advantage": _numbers(to_come - value),
        "entropy": _numbers(-(log_probs.exp() * log_probs).sum(dim=1)),
    }
    if reference is not None:
        gap = log_probs - _log_probs(reference.policy, observation)
        view["kl"] = _numbers((log_probs.exp() * gap).sum(dim=1))
        view["log_prob_ratio"] = _numbers(gap.gather(1, token_ids[:, None])[:, 0])
    return view


def _packed(prompt_ids: Sequence[int], token_ids: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    """Return one episode as a packed batch; see `LanguagePolicy`."""
    input_ids = torch.tensor([[*prompt_ids, *token_ids]], device=device)
    position = torch.arange(input_ids.shape[1], device=device)[None]
    is_decision = (position >= len(prompt_ids) - 1) & (position < input_ids.shape[1] - 1)
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "is_decision": is_decision}


def _log_probs(policy: LanguagePolicy, observation: dict[str, Tensor]) -> Tensor:
    hidden, n_generated = policy.decisions(observation)
    return torch.log_softmax(policy.decision_logits(hidden, n_generated), dim=-1)


def _numbers(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.double().tolist()]
