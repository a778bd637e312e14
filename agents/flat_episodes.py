"""Ragged episodes in flat tensors, each token stored once, and packed batches of any of them."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .host_copies import to_device
from .ranges import joined_ranges, starts_of
from .text_passes import PackedTexts


class EpisodeRecord(NamedTuple):
    """One finished episode of T generated tokens as the learner needs it.

    Attributes:
        prompt_ids: Tokens of the prompt.
        token_ids: Generated tokens, length T.
        rewards: Reward of each generated token, shape (T,).
        values: Critic's value before each token, shape (T,).
        log_prob: Log-probability of each token when it was sampled, shape (T,).
        candidates: What each token was chosen among, as `pack_candidates` packs it, shape (T, ⌈V / 8⌉); None for all
            that the environment allows. Either all episodes of a buffer have them or none.
    """

    prompt_ids: Sequence[int]
    token_ids: Sequence[int]
    rewards: Tensor
    values: Tensor
    log_prob: Tensor
    candidates: Tensor | None = None


class FlatEpisodes:
    """Where buffers keep E episodes; a mixin before Stable-Baselines3's class.

    Attributes:
        device: Where the tensors are.
        token_ids: Prompt and generated tokens, episode by episode, int32.
        prompt_lengths: Tokens of each prompt, shape (E,).
        lengths: Generated tokens of each episode, shape (E,).
        rewards: Reward of each generated token.
        frozen_hidden: What the policy's frozen layers make of each token, shape (tokens, D); None where they are not
            computed once for all passes.
        candidates: What each generated token was chosen among, or None; see `EpisodeRecord`.
    """

    device: torch.device
    token_ids: Tensor
    prompt_lengths: np.ndarray
    lengths: np.ndarray
    rewards: Tensor
    frozen_hidden: Tensor | None = None
    candidates: Tensor | None = None

    @property
    def n_tokens(self) -> int:
        """Number of generated tokens."""
        return int(self.lengths.sum())

    def forget(self) -> None:
        """Drop all episodes."""
        self.token_ids = torch.empty(0, dtype=torch.int32, device=self.device)
        self.prompt_lengths = np.empty(0, dtype=np.int64)
        self.lengths = np.empty(0, dtype=np.int64)
        self.rewards = torch.empty(0, device=self.device)
        self.frozen_hidden = None
        self.candidates = None

    def append(self, episodes: Sequence[EpisodeRecord]) -> None:
        """Keep more episodes.

        Raises:
            ValueError: If one has no tokens, or its parts differ in length.
        """
        for episode in episodes:
            sizes = {len(episode.token_ids), len(episode.rewards), len(episode.values), len(episode.log_prob)}
            if len(sizes) != 1 or not episode.token_ids:
                raise ValueError(
                    "token_ids, rewards, values and log_prob must be equally long, and have at least one entry, got "
                    f"lengths {sorted(sizes)}."
                )
        texts = chain.from_iterable((episode.prompt_ids, episode.token_ids) for episode in episodes)
        tokens = np.fromiter(chain.from_iterable(texts), dtype=np.int32)
        new_tokens = to_device(torch.from_numpy(tokens), self.device)
        new_rewards = to_device(torch.cat([episode.rewards for episode in episodes]), self.device)
        self.token_ids = torch.cat([self.token_ids, new_tokens])
        self.rewards = torch.cat([self.rewards, new_rewards])
        if episodes[0].candidates is not None:
            parts = [episode.candidates for episode in episodes]
            kept = [] if self.candidates is None else [self.candidates]
            self.candidates = torch.cat(kept + [part.to(self.device) for part in parts if part is not None])
        self.lengths = np.append(self.lengths, [len(episode.token_ids) for episode in episodes])
        self.prompt_lengths = np.append(self.prompt_lengths, [len(episode.prompt_ids) for episode in episodes])

    def packed(self, episodes: np.ndarray) -> PackedTexts:
        """Return `input_ids`, `attention_mask` and `is_decision` of the given episodes, shape (B, L) each.

        And `frozen_hidden`, shape (B, L, D), where it is there; where episodes have candidates, also these, decision by
        decision, shape (N, ⌈V / 8⌉).
        """
        prompt_lengths, sizes = self.prompt_lengths[episodes], (self.prompt_lengths + self.lengths)[episodes]
        starts = starts_of(self.prompt_lengths + self.lengths)[episodes]
        column = np.arange(sizes.max())
        is_token = column < sizes[:, None]
        position = np.where(is_token, starts[:, None] + column, 0)
        is_decision = (column >= prompt_lengths[:, None] - 1) & (column < sizes[:, None] - 1)
        mask = to_device(torch.from_numpy(is_token), self.device)
        index = to_device(torch.from_numpy(position), self.device)
        input_ids = self.token_ids[index].long() * mask
        decides = to_device(torch.from_numpy(is_decision), self.device)
        batch = PackedTexts(input_ids=input_ids, attention_mask=mask, is_decision=decides)
        if self.frozen_hidden is not None:
            batch["frozen_hidden"] = self.frozen_hidden[index]
        if self.candidates is not None:
            batch["candidates"] = self.candidates[self.token_index(episodes)]
        return batch

    def first_decision(self) -> dict[str, Tensor]:
        """Return the first episode's prompt and one more token as `packed` does, with a single decision."""
        episode, n_prompt = self.packed(np.arange(1)), int(self.prompt_lengths[0])
        decision = {key: value[:, : n_prompt + 1] for key, value in episode.items() if key != "candidates"}
        if "candidates" in episode:
            decision["candidates"] = episode["candidates"][:1]
        decision["is_decision"] = torch.arange(n_prompt + 1, device=self.device)[None] == n_prompt - 1
        return decision

    def token_index(self, episodes: np.ndarray) -> Tensor:
        """Return where the generated tokens of the given episodes lie in the flat tensors, episode by episode."""
        ranges = joined_ranges(starts_of(self.lengths)[episodes], self.lengths[episodes])
        return to_device(torch.from_numpy(ranges), self.device)
