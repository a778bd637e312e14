"""A language model as a policy whose action is a whole completion."""

from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from .decoder import Decoder, Sampling
from .policy import GPT2Policy

NEEDS_A_DICT = "GPT2CompletionPolicy needs the Dict observation of TextGenCompletion-v0, got a tensor."


class GPT2CompletionPolicy(GPT2Policy):
    """`GPT2Policy` for `TextGenCompletion-v0`: one decision an episode.

    The log-probability of a completion is the sum over its tokens, up to and with the end-of-sequence token, and its
    value is that of its prompt. Its entropy, too, is summed over its tokens: an estimate without bias of the entropy
    of all completions, from the one that was sampled.

    The algorithms of `textgym.agents` generate, store and update as with single tokens. In plain Stable-Baselines3 the
    same policy generates a completion in each step; there `eos_token_id` has to be given, and stop strings are not
    known, so that tokens behind one are learned from although the environment ignores them.

    Args:
        observation_space: The environment's, with keys `input_ids`, `attention_mask`, `is_generated`.
        action_space: `MultiDiscrete([V] * max_new_tokens)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        eos_token_id: The token that ends a completion, which also fills the action behind it; None if only the token
            budget ends one. The agents of `textgym.agents` fill this in.
        **arguments: Those of `GPT2Policy`.

    Raises:
        TypeError: If the spaces are not those of `TextGenCompletion-v0`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        eos_token_id: int | None = None,
        **arguments: Any,
    ) -> None:
        if not isinstance(action_space, spaces.MultiDiscrete):
            raise TypeError(
                "GPT2CompletionPolicy needs the spaces of TextGenCompletion-v0, whose actions are MultiDiscrete, got "
                f"{action_space}; for TextGen-v0 use GPT2Policy."
            )
        super().__init__(observation_space, spaces.Discrete(int(action_space.nvec[0])), lr_schedule, **arguments)
        self.action_space = action_space
        self.eos_token_id = eos_token_id
        self.max_new_tokens = len(action_space.nvec)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Write a completion for each prompt.

        Returns:
            Actions, shape (B, max_new_tokens), values, shape (B, 1), and log-probabilities, shape (B,).
        """
        actions, values, log_prob = self._write(obs, Sampling(deterministic))
        if self.is_scored_again:
            values, log_prob, _ = self.evaluate_actions(obs, actions)
        return actions, values, log_prob

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score completions.

        Args:
            obs: Prompts, or a packed batch of whole episodes.
            actions: Completions, shape (B, max_new_tokens), or the packed batch's generated tokens.

        Returns:
            Values, shape (B, 1), log-probabilities and entropies, shape (B,).
        """
        if isinstance(obs, Tensor):
            raise TypeError(NEEDS_A_DICT)
        if "is_decision" not in obs:
            obs, actions = self._packed(obs, actions.long())
        values, log_prob, entropy = self.evaluate_tokens(obs, actions)
        is_decision = obs["is_decision"]
        row = is_decision.nonzero()[:, 0]
        lengths = is_decision.sum(dim=1)
        sums = [part.new_zeros(len(lengths)).index_add(0, row, part) for part in (log_prob, entropy)]
        return values[lengths.cumsum(dim=0) - lengths], sums[0], sums[1]

    def get_distribution(self, obs: PyTorchObs) -> Distribution:
        """Raise NotImplementedError: nobody can list all completions."""
        raise NotImplementedError(
            "GPT2CompletionPolicy has no distribution object over whole completions; evaluate_actions gives the "
            "log-probabilities of given ones. Algorithms that need one work on TextGen-v0 with GPT2Policy."
        )

    def _predict(
        self,
        observation: PyTorchObs,
        deterministic: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        return self._write(observation, Sampling(deterministic, top_k, top_p))[0]

    @torch.no_grad()
    def _write(self, obs: PyTorchObs, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(obs, Tensor):
            raise TypeError(NEEDS_A_DICT)
        input_ids, is_text = obs["input_ids"].long(), obs["attention_mask"].bool()
        prompts = [row[mask].tolist() for row, mask in zip(input_ids.cpu(), is_text.cpu(), strict=True)]
        limits = _Limits(
            input_ids.shape[1], self.max_new_tokens, 0, -1 if self.eos_token_id is None else self.eos_token_id
        )
        on_cpu = self.device.type == "cpu"
        decoder = Decoder(self, limits, len(prompts), sampling, is_static=not on_cpu)
        decoder.start(range(len(prompts)), prompts, torch.rand(len(prompts), self.max_new_tokens).numpy())
        while decoder.is_running.any():
            decoder.run(4 if on_cpu else 16)
        is_behind = self._columns >= decoder.n_generated[:, None]
        tokens, log_prob = (part[:, :-1] for part in (decoder.token_ids, decoder.log_prob))
        actions = tokens.masked_fill(is_behind, limits.eos_token_id)
        return actions, decoder.values[:, :1], log_prob.masked_fill(is_behind, 0).sum(dim=1)

    def _packed(self, obs: dict[str, Tensor], actions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Append completions to their prompts, as a packed batch, and return its generated tokens, too."""
        is_eos = actions == (-1 if self.eos_token_id is None else self.eos_token_id)
        is_generated = is_eos.cumsum(dim=1) - is_eos.long() == 0  # (B, T)
        prompt_lengths = obs["attention_mask"].long().sum(dim=1)
        rows, places = is_generated.nonzero(as_tuple=True)
        columns = prompt_lengths[rows] + places
        input_ids, mask = obs["input_ids"].long().clone(), obs["attention_mask"].bool().clone()
        is_decision = torch.zeros_like(mask)
        input_ids[rows, columns] = actions[rows, places]
        mask[rows, columns] = True
        is_decision[rows, columns - 1] = True
        width = int(mask.sum(dim=1).max())
        packed = {"input_ids": input_ids, "attention_mask": mask, "is_decision": is_decision}
        return {key: value[:, :width] for key, value in packed.items()}, actions[rows, places]

    @property
    def _columns(self) -> Tensor:
        return torch.arange(self.max_new_tokens, device=self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "eos_token_id": self.eos_token_id}


class _Limits(NamedTuple):
    context_length: int
    max_new_tokens: int
    pad_token_id: int
    eos_token_id: int
