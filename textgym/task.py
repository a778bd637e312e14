"""The rules of one text-generation task: its prompts, which tokens are allowed, when a completion ends, its score."""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .allowed_tokens import allowed_tokens, is_token
from .decoding import TextDecoder
from .episodes import FinishedEpisode, FinishedEpisodes, FinishReason, Judgement, judgements, spread_over_tokens
from .models import encode_texts, load_tokenizer
from .prompts import Prompt, load_prompts
from .reward_protocol import (
    RewardResult,
    RewardSpec,
    StepReward,
    evaluate_potential,
    resolve_reward,
    reward_arguments,
    score_completions,
    shaping_potentials,
    step_rewards,
)
from .shaping import asks_for_shaping, pay_where_earned, shaping_gamma
from .stop_strings import REPLACEMENT_CHARACTER, tokens_that_may_stop

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REFERENCE_REWARD = "textgym.rewards:reference_task"
ANCHOR_LENGTH = 8  # tokens before another one, enough that it is decoded as within a text
_QUOTE = reprlib.Repr()
_QUOTE.maxstring = 200  # of a long prompt its beginning and end


class TextTask:
    """All that defines a token-level MDP but the rows that are played in it.

    Args:
        tokenizer: A tokenizer, a folder, a hub name, or None for the bundled one.
        prompts: See `textgym.prompts.load_prompts`; `"bundled"` are the training prompts of the reference task.
        reward: A reward function, a registered name, `"module:attribute"`, or a composition in plain data.
        max_prompt_tokens: Longest prompt, in tokens.
        max_new_tokens: Token budget of a completion.
        min_new_tokens: The end-of-sequence token is not allowed before this many tokens.
        stop: Strings that end a completion; the text is cut before them.
        banned_token_ids: Tokens that are never allowed.
        allowed_token_ids: The only tokens allowed (the end-of-sequence token has to be among them to be allowed);
            None allows all.
        completions_per_prompt: Size K of a group: K rows, or K episodes in sequence, get the same prompt.
        prompt_order: `"random"` draws with replacement, seeded; `"sequential"` goes through the prompts in order.
        truncate_prompts: None makes a prompt longer than `max_prompt_tokens` an error; `"left"` keeps its last tokens,
            from the beginning of a character on.

    Attributes:
        model_name: Name of the language model that the tokenizer belongs to, which agents train unless another is
            named; None for the bundled one, and where the tokenizer was given as an object.

    Raises:
        ValueError: If a budget is below 1 or both together are beyond the model's context, a token id is outside the
            vocabulary, no token would be allowed, or a prompt is empty or too long.
        TypeError: If an argument is of the wrong type.
    """

    def __init__(
        self,
        tokenizer: "str | Path | PreTrainedTokenizerBase | None" = None,
        prompts: "str | Path | Iterable[str] | Iterable[Mapping[str, Any]]" = "bundled",
        reward: RewardSpec = REFERENCE_REWARD,
        *,
        max_prompt_tokens: int = 24,
        max_new_tokens: int = 64,
        min_new_tokens: int = 0,
        stop: str | Sequence[str] = (),
        banned_token_ids: Iterable[int] = (),
        allowed_token_ids: Iterable[int] | None = None,
        completions_per_prompt: int = 1,
        prompt_order: Literal["random", "sequential"] = "random",
        truncate_prompts: Literal["left"] | None = None,
    ) -> None:
        for name, value, least in (
            ("max_prompt_tokens", max_prompt_tokens, 1),
            ("max_new_tokens", max_new_tokens, 1),
            ("min_new_tokens", min_new_tokens, 0),
            ("completions_per_prompt", completions_per_prompt, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"{name} must be an integer, got {value!r}.")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        if min_new_tokens > max_new_tokens:
            raise ValueError(f"min_new_tokens must be at most max_new_tokens ({max_new_tokens}), got {min_new_tokens}.")
        if prompt_order not in ("random", "sequential"):
            raise ValueError(f"prompt_order must be 'random' or 'sequential', got {prompt_order!r}.")
        if truncate_prompts not in (None, "left"):
            raise ValueError(f"truncate_prompts must be None or 'left', got {truncate_prompts!r}.")
        # Who names a tokenizer names a model, too: the one that it belongs to.
        self.model_name = None if tokenizer is not None and not isinstance(tokenizer, str | Path) else tokenizer
        self.tokenizer = load_tokenizer(tokenizer)
        n_tokens, context = max_prompt_tokens + max_new_tokens, self.tokenizer.model_max_length
        if n_tokens > context:
            raise ValueError(
                f"max_prompt_tokens + max_new_tokens is {n_tokens}, beyond the {context} tokens that the tokenizer's "
                "model reads (tokenizer.model_max_length); lower one of them."
            )
        self.reward = resolve_reward(reward)
        self.max_prompt_tokens = int(max_prompt_tokens)
        self.max_new_tokens = int(max_new_tokens)
        self.min_new_tokens = int(min_new_tokens)
        self.completions_per_prompt = int(completions_per_prompt)
        self.prompt_order = prompt_order
        self.stop = _stop_strings(stop)
        known = is_token(self.tokenizer)
        self.vocab_size = len(known)
        self._decoder = TextDecoder(self.tokenizer, self.vocab_size)
        self.eos_token_id: int = self.tokenizer.eos_token_id
        pad_token_id = self.tokenizer.pad_token_id
        self.pad_token_id: int = self.eos_token_id if pad_token_id is None else pad_token_id
        self.is_allowed = allowed_tokens(
            banned_token_ids,
            allowed_token_ids,
            known,
            eos_token_id=self.eos_token_id,
            only_end_is_enough=not self.min_new_tokens,
        )
        self.prompts = self._encode_prompts(load_prompts(prompts), truncate_prompts)

    @property
    def context_length(self) -> int:
        """Length C of an observation: the longest prompt and the token budget."""
        return self.max_prompt_tokens + self.max_new_tokens

    @cached_property
    def restricts_tokens(self) -> bool:
        """Whether any token is ever forbidden."""
        return self.min_new_tokens > 0 or not bool(self.is_allowed.all())

    @cached_property
    def may_stop(self) -> Tensor:
        """Whether each token may complete a stop string, shape (V,); false only where it never can."""
        if not self.stop:
            return torch.zeros(self.vocab_size, dtype=torch.bool)
        anchor = self.prompts[0].token_ids[-ANCHOR_LENGTH:]
        return tokens_that_may_stop(self._decoder, self.vocab_size, anchor, self.stop)

    def allowed_mask(self, n_generated: Tensor) -> Tensor:
        """Tell which tokens may come next.

        Args:
            n_generated: Tokens that each row has generated so far, shape (B,), on any device.

        Returns:
            Boolean tensor, True where a token is allowed, shape (B, V), on the device of `n_generated`.
        """
        mask = self.is_allowed.to(n_generated.device).repeat(len(n_generated), 1)
        if self.min_new_tokens:
            mask[:, self.eos_token_id] &= n_generated >= self.min_new_tokens
        return mask  # (B, V)

    def stop_length(self, token_ids: Sequence[int], checked: int = 0) -> int | None:
        """Find where a stop string ends a completion.

        Args:
            token_ids: The tokens generated so far.
            checked: That many of them are known to hold no stop string.

        Returns:
            The smallest number of tokens, above `checked`, whose text contains a stop string; None if there is none.
        """
        if not self.stop or not self._first_stop(self._decode(token_ids)):
            return None
        for length in range(checked + 1, len(token_ids)):
            if self._first_stop(self._decode(token_ids[:length])):
                return length
        return len(token_ids)

    def completion_text(self, token_ids: Sequence[int]) -> str:
        """Decode generated tokens without a final end-of-sequence token, cut before the first stop string."""
        return self._before_stop(self._decode(token_ids))

    def finish(self, prompt: Prompt, token_ids: Sequence[int], finish_reason: FinishReason) -> FinishedEpisode:
        """Make the record of a finished completion."""
        return FinishedEpisode(prompt, tuple(token_ids), self.completion_text(token_ids), finish_reason)

    def finish_all(self, prompts: Sequence[Prompt], token_ids: Sequence[list[int]]) -> FinishedEpisodes:
        """Make the records of N completions that have ended, by column; each argument has length N.

        The reason is read off them: `"stop"` where the text is cut before a stop string, `"eos"` where the tokens end
        with the end of sequence, else `"length"`.
        """
        without_eos = self._all_without_eos(token_ids)
        texts = self._decoder.decode_all(without_eos)
        reasons: list[FinishReason] = [
            "length" if len(rest) == len(ids) else "eos" for ids, rest in zip(token_ids, without_eos, strict=True)
        ]
        if self.stop:
            whole, texts = texts, [self._before_stop(text) for text in texts]
            reasons = [
                reason if len(text) == len(uncut) else "stop"
                for reason, text, uncut in zip(reasons, texts, whole, strict=True)
            ]
        return FinishedEpisodes(prompts, token_ids, texts, reasons)

    def score(self, episodes: Sequence[FinishedEpisode]) -> list[Judgement]:
        """Judge finished episodes by one call of the reward function.

        Raises:
            RewardError: If the reward fails or returns anything but one finite score an episode.
        """
        return judgements(self.score_by_column(FinishedEpisodes(*zip(*episodes, strict=True)))) if episodes else []

    def score_by_column(self, episodes: FinishedEpisodes) -> RewardResult:
        """Judge N finished episodes as `score` does.

        Args:
            episodes: The episodes, each column of length N.

        Returns:
            Scores, terms and token rewards, each of length N; the token rewards are those of `Judgement`.

        Raises:
            RewardError: As `score`.
        """
        result = score_completions(
            self.reward,
            [prompt.text for prompt in episodes.prompts],
            episodes.texts,
            self._columns(episodes.prompts),
            self._all_without_eos(episodes.token_ids),
        )
        if result.token_rewards.count(None) < len(result.token_rewards):
            spread = [
                None if rewards is None else spread_over_tokens(rewards, len(ids), score)
                for ids, rewards, score in zip(episodes.token_ids, result.token_rewards, result.scores, strict=True)
            ]
            result = result._replace(token_rewards=spread)
        if asks_for_shaping(self.reward):
            one_by_one = [
                FinishedEpisode(prompt, tuple(ids), text, reason)
                for prompt, ids, text, reason in zip(*episodes, strict=True)
            ]
            gamma = shaping_gamma(self.reward)
            shaped = pay_where_earned(
                self, one_by_one, judgements(result), self.shaping_potentials, gamma, adds_to_token_rewards=True
            )
            result = result._replace(token_rewards=[judgement.token_rewards for judgement in shaped])
        return result

    def potentials(self, episodes: Sequence[FinishedEpisode]) -> list[float]:
        """Return what the reward sees in unfinished texts: its own potential where it has one, else the score.

        Raises:
            RewardError: If the reward fails or returns anything but one finite number a text.
        """
        return self._potentials(evaluate_potential, episodes)

    def shaping_potentials(self, episodes: Sequence[FinishedEpisode]) -> list[float]:
        """Return what the part of the reward that asks for shaping sees in unfinished texts.

        Raises:
            RewardError: If the reward fails or returns anything but one finite number a text.
        """
        return self._potentials(shaping_potentials, episodes)

    def step_rewards(self, prompts: Sequence[Prompt], prefixes: Sequence[str]) -> list[float]:
        """Return what a `StepReward` pays for having reached each text; zeros for any other reward."""
        if not isinstance(self.reward, StepReward):
            return [0.0] * len(prefixes)
        return step_rewards(self.reward, [prompt.text for prompt in prompts], prefixes, self._columns(prompts))

    def prompt_indices(self, generator: np.random.Generator, size: int) -> list[int]:
        """Draw which prompts come next; environments of several rows do so for several episodes ahead.

        Args:
            generator: Random numbers.
            size: Number of prompts N; as many draws of one come to the same.

        Returns:
            N indices in `prompts`.
        """
        indices: list[int] = generator.integers(len(self.prompts), size=size).tolist()
        return indices

    def _potentials(self, evaluate: Callable[..., list[float]], episodes: Sequence[FinishedEpisode]) -> list[float]:
        if not episodes:
            return []
        prompts, texts = [episode.prompt.text for episode in episodes], [episode.text for episode in episodes]
        ids = self._all_without_eos([episode.token_ids for episode in episodes])
        columns = self._columns([episode.prompt for episode in episodes])
        arguments = reward_arguments(prompts, texts, columns, ids)
        return evaluate(self.reward, prompts, texts, arguments)

    def _columns(self, prompts: Sequence[Prompt]) -> dict[str, list[object]]:
        return {key: [prompt.columns[key] for prompt in prompts] for key in self.prompts[0].columns}

    def _all_without_eos(self, token_ids: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        eos_token_id = self.eos_token_id
        return [ids[:-1] if len(ids) and ids[-1] == eos_token_id else ids for ids in token_ids]

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._decoder(self._all_without_eos([token_ids])[0])

    def _before_stop(self, text: str) -> str:
        found = self._first_stop(text)
        return text[: text.index(found)] if found else text

    def _first_stop(self, text: str) -> str | None:
        found = [stop for stop in self.stop if stop in text]
        return min(found, key=text.index) if found else None

    def _end_of_prompt(self, text: str, ids: list[int]) -> tuple[list[int], str]:
        """Return the last tokens of a prompt that is too long, from the beginning of a character on, and their text."""
        for begin in range(len(ids) - self.max_prompt_tokens, len(ids)):
            end, without_first = self._decoder.decode_all([ids[begin:], ids[begin + 1 :]])
            # A part of a character decodes to a replacement character, or by some tokenizers of bytes to nothing.
            if end.strip() and end != without_first and not end.startswith(REPLACEMENT_CHARACTER):
                return ids[begin:], end
        raise ValueError(
            f"Of the prompt {_QUOTE.repr(text)} max_prompt_tokens leaves the last {self.max_prompt_tokens} tokens, "
            "which are no text; raise max_prompt_tokens."
        )

    def _encode_prompts(self, rows: list[tuple[str, dict[str, object]]], truncate: str | None) -> list[Prompt]:
        encoded = encode_texts(self.tokenizer, [text for text, _ in rows], "prompts")
        prompts = []
        for (text, columns), ids in zip(rows, encoded, strict=True):
            if not ids:
                raise ValueError(f"The prompt {text!r} has no tokens; every prompt needs at least one.")
            if len(ids) > self.max_prompt_tokens:
                if truncate is None:
                    raise ValueError(
                        f"The prompt {_QUOTE.repr(text)} has {len(ids)} tokens, max_prompt_tokens allows "
                        f"{self.max_prompt_tokens}; raise max_prompt_tokens, shorten the prompt, or pass "
                        "truncate_prompts='left'."
                    )
                ids, text = self._end_of_prompt(text, ids)
            prompts.append(Prompt(text, tuple(ids), columns))
        return prompts


def _stop_strings(stop: object) -> tuple[str, ...]:
    if not isinstance(stop, str | Sequence):
        raise TypeError(f"stop must be a string or a list of strings, got {stop!r}.")
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(text, str) for text in strings):
        raise TypeError(f"stop must hold strings, got {list(strings)!r}.")
    if not all(strings):
        raise ValueError(f"stop must hold non-empty strings, got {list(strings)!r}.")
    return strings
