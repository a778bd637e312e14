"""An actor-critic that chooses among the tokens that a mask policy, an older copy of itself, finds probable."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from .candidates import pack_candidates, packed_width
from .kv_cache import PairedCache, RowCache
from .language_policy import LanguagePolicy
from .number_checks import check_numbers
from .policy import GPT2Policy
from .sampling import restrict_to_top


class NucleusPolicy(GPT2Policy):
    """The distribution of a `GPT2Policy`, over the smallest set of tokens to which the mask policy gives `top_p`.

    The mask policy is as old as the last `refresh_mask`. It reads along: hidden states here are the policy's own and
    the mask policy's, side by side, and so are the caches. A packed batch that brings the candidates with it, as
    generation has stored them, is forwarded through the policy alone.

    Args:
        observation_space: The environment's.
        action_space: `Discrete(V)`.
        lr_schedule: Learning rate as a function of the remaining progress.
        top_p: Probability of the set; 1 for all tokens.
        **arguments: All other arguments are those of `GPT2Policy`; all layers are trained, without an adapter.

    Raises:
        ValueError: If `top_p` is not above 0 and at most 1, or `frozen_layers` or `lora` is given.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        top_p: float = 0.9,
        **arguments: Any,
    ) -> None:
        check_numbers({"top_p": top_p})
        for name in ("frozen_layers", "lora"):
            if arguments.get(name):
                raise ValueError(
                    f"{name} must be left out with NLPO, whose mask policy is a whole copy of the model, got "
                    f"{arguments[name]!r}; PPO takes it."
                )
        super().__init__(observation_space, action_space, lr_schedule, **arguments)
        self.top_p = top_p
        # After the optimiser was made, which has nothing to do with it.
        self.mask_policy = LanguagePolicy(
            observation_space,
            action_space,
            model=self.language_model,
            temperature=self.temperature,
            token_rules=self.token_rules,
            autocast=self.autocast,
        )
        self.mask_policy.requires_grad_(False)

    def refresh_mask(self) -> None:
        """Make the mask policy equal to the policy as it is."""
        self.mask_policy.language_model.load_state_dict(self.language_model.state_dict())

    @property
    def candidate_bytes(self) -> int:
        """Bytes of one decision's candidates."""
        return packed_width(self.vocab_size)

    def candidates(self, hidden: Tensor, n_generated: Tensor) -> Tensor:
        """Return the nucleus of the mask policy's distribution.

        Args:
            hidden: The policy's and the mask policy's hidden states side by side, shape (N, 2 D).
            n_generated: Tokens generated before each decision, shape (N,).

        Returns:
            As `pack_candidates` packs it.
        """
        with torch.no_grad():
            logits = self.mask_policy.decision_logits(hidden[:, self.width :], n_generated)
            return pack_candidates(restrict_to_top(logits, None, self.top_p) > -torch.inf)

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Return logits over candidates; see `LanguagePolicy.decision_logits`."""
        return super().decision_logits(hidden[:, : self.width], n_generated, candidates)

    def statistics_of(
        self, hidden: Tensor, n_generated: Tensor, token_ids: Tensor, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies over candidates; see `LanguagePolicy.statistics_of`."""
        return super().statistics_of(hidden[:, : self.width], n_generated, token_ids, candidates)

    def values_of(self, hidden: Tensor) -> Tensor:
        """Return the critic's value of hidden states, shape (N, D) or (N, 2 D), as float32, shape (N,)."""
        return super().values_of(hidden[:, : self.width])

    def decisions(self, obs: PyTorchObs, trunk: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Return hidden states and numbers of tokens before each decision.

        Args:
            obs: Single contexts, or a packed batch.
            trunk: See `hidden_states`.

        Returns:
            Hidden states, shape (N, 2 D), or (N, D) where the batch brings its candidates or another trunk is asked
            for; and numbers, shape (N,).
        """
        hidden, n_generated = super().decisions(obs, trunk)
        if trunk is not None or "candidates" in obs:
            return hidden, n_generated
        with torch.no_grad():
            mask_hidden, _ = self.mask_policy.decisions(obs)
        return torch.cat([hidden, mask_hidden], dim=-1), n_generated

    def make_cache(self, num_rows: int, context_length: int) -> RowCache:
        """Return an empty cache for the policy, with one for the mask policy in it."""
        mask_cache = self.mask_policy.make_cache(num_rows, context_length)
        n_layers = self.language_model.config.num_hidden_layers
        return self.prepared(PairedCache(n_layers, num_rows, context_length, self.device, mask_cache))

    def cached_hidden_states(
        self,
        input_ids: Tensor,
        positions: Tensor,
        cache: RowCache,
        rows: Tensor | None = None,
        attended_length: int | None = None,
    ) -> Tensor:
        """Append tokens to cached rows and return both hidden states at each of them, shape (R, m, 2 D)."""
        if not isinstance(cache, PairedCache):
            raise TypeError(f"cache must come from make_cache of this policy, got {type(cache).__name__}.")
        both = [
            super().cached_hidden_states(input_ids, positions, cache, rows, attended_length),
            self.mask_policy.cached_hidden_states(input_ids, positions, cache.companion, rows, attended_length),
        ]
        return torch.cat(both, dim=-1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "top_p": self.top_p}
