"""The token environment as a careful person would write it: one Python object an episode, text at the end only."""

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from textgym.task import TextTask

Observation = dict[str, npt.NDArray[Any]]


class UsualTextEnv(gymnasium.Env[Observation, int]):
    """Appends a token a step to arrays of fixed length, and decodes and scores when the episode is over.

    It gives what `TextGen-v0` gives where every token is allowed and there are no stop strings. Observations are the
    arrays it works on, without a copy, as vector environments copy them anyhow.

    Args:
        task: Prompts, tokenizer, reward and lengths; its rules for tokens are not looked at.
    """

    def __init__(self, task: TextTask) -> None:
        self.tokenizer, self.reward, self.prompts = task.tokenizer, task.reward, task.prompts
        self.eos_token_id, self.pad_token_id = task.eos_token_id, task.pad_token_id
        self.max_new_tokens = task.max_new_tokens
        shape = (task.context_length,)
        self.observation_space = spaces.Dict(  # type: ignore[assignment]
            {
                "input_ids": spaces.Box(0, task.vocab_size - 1, shape, np.int64),
                "attention_mask": spaces.Box(0, 1, shape, np.int8),
                "is_generated": spaces.Box(0, 1, shape, np.int8),
            }
        )
        self.action_space = spaces.Discrete(task.vocab_size)  # type: ignore[assignment]
        self._input_ids = np.empty(shape, np.int64)
        self._attention_mask = np.empty(shape, np.int8)
        self._is_generated = np.empty(shape, np.int8)
        self._observation: Observation = {
            "input_ids": self._input_ids,
            "attention_mask": self._attention_mask,
            "is_generated": self._is_generated,
        }
        self._prompt = self.prompts[0]
        self._length = 0
        self._n_generated = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode at a random prompt."""
        super().reset(seed=seed)
        self._prompt = self.prompts[int(self.np_random.integers(len(self.prompts)))]
        self._length = len(self._prompt.token_ids)
        self._n_generated = 0
        self._input_ids.fill(self.pad_token_id)
        self._attention_mask.fill(0)
        self._is_generated.fill(0)
        self._input_ids[: self._length] = self._prompt.token_ids
        self._attention_mask[: self._length] = 1
        return self._observation, {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append a token."""
        self._input_ids[self._length] = action
        self._attention_mask[self._length] = 1
        self._is_generated[self._length] = 1
        self._length += 1
        self._n_generated += 1
        by_eos = action == self.eos_token_id
        if not by_eos and self._n_generated < self.max_new_tokens:
            return self._observation, 0.0, False, False, {}
        token_ids = self._input_ids[self._length - self._n_generated : self._length - int(by_eos)].tolist()
        completion = str(self.tokenizer.decode(token_ids))
        score = float(self.reward([self._prompt.text], [completion])[0])  # type: ignore[arg-type, index]
        info = {
            "prompt": self._prompt.text,
            "completion": completion,
            "finish_reason": "eos" if by_eos else "length",
            "n_tokens": self._n_generated,
            "score": score,
        }
        return self._observation, score, True, False, info
