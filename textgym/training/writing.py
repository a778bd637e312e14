"""Completions of a person's own prompts, written as in training and evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from textgym.agents import GPT2Policy, Sampling, generate_episodes
from textgym.agents.decoder import SAMPLED
from textgym.agents.token_rules import token_rules
from textgym.agents.vec_env import TextGenVecEnv
from textgym.models import encode_texts, load_language_model, load_tokenizer
from textgym.task import TextTask

from .model_folder import find_model
from .settings import TrainSettings

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # of bytes that are no whole character


def write_completions(
    model: str,
    prompts: Sequence[str],
    settings: TrainSettings,
    *,
    n: int = 1,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int = 0,
) -> list[tuple[str, str]]:
    """Complete prompts of any length that the model has room for.

    Args:
        model: A run folder, a model folder, a hub name or `"bundled"`.
        prompts: What to go on with.
        settings: The run's, which give budget, temperature and rules where no other are given.
        n: Completions of each prompt.
        max_new_tokens: Token budget of a completion; None for the settings'.
        temperature: Divides the logits; None for the settings', where the algorithm may choose the best token instead.
        top_k: Choose among so many tokens; None for all.
        top_p: Choose among the fewest tokens of this probability; None for the settings', which mostly means all.
        greedy: Always take the likeliest token.
        seed: Decides the random numbers.

    Returns:
        Prompt and completion, n of each prompt in order.

    Raises:
        ValueError: If the model cannot be found, a prompt is empty, a number is out of range, or prompt and budget are
            together beyond the model's context.
    """
    writer = Writer(model, settings, temperature=temperature)
    return writer.write(prompts, n=n, max_new_tokens=max_new_tokens, sampling=Sampling(greedy, top_k, top_p), seed=seed)


class Writer:
    """A model that is loaded once and completes prompts whenever it is asked to.

    Args:
        model: A run folder, a model folder, a hub name or `"bundled"`.
        settings: The run's, which give budget, temperature and rules where no other are given.
        temperature: Divides the logits; None for the settings'.

    Attributes:
        tokenizer: The model's.

    Raises:
        ValueError: If the model cannot be found.
    """

    def __init__(self, model: str, settings: TrainSettings, *, temperature: float | None = None) -> None:
        source = find_model(model)
        self.tokenizer = load_tokenizer(source)
        self._language_model = load_language_model(source)
        self._settings = settings
        temperature = settings.algorithm.writing_temperature if temperature is None else temperature
        self._is_greedy = temperature is None
        self._temperature = 1.0 if temperature is None else temperature
        self._policy: GPT2Policy | None = None
        self._context_length = 0

    def write(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int | None = None,
        sampling: Sampling = SAMPLED,
        seed: int = 0,
    ) -> list[tuple[str, str]]:
        """Complete prompts; see `write_completions`."""
        options = self._settings.task
        budget = options.max_new_tokens if max_new_tokens is None else max_new_tokens
        longest = max([len(ids) for ids in encode_texts(self.tokenizer, prompts, "prompts")], default=1)
        if longest + budget > self._context:
            raise ValueError(
                f"A prompt of {longest} tokens and {budget} new ones are beyond the {self._context} that the model "
                "reads; lower max_new_tokens."
            )
        task = TextTask(
            self.tokenizer,
            list(prompts),
            _no_reward,
            max_prompt_tokens=max(1, longest),
            max_new_tokens=budget,
            min_new_tokens=min(options.min_new_tokens, budget),
            stop=options.stop,
            banned_token_ids=options.banned_token_ids,
            allowed_token_ids=options.allowed_token_ids,
            completions_per_prompt=n,
            prompt_order="sequential",
        )
        policy = self._policy_of(task)
        if self._is_greedy:
            sampling = replace(sampling, deterministic=True)
        if sampling.top_p is None and not sampling.deterministic:
            sampling = replace(sampling, top_p=self._settings.algorithm.writing_top_p)
        episodes = generate_episodes(policy, task, range(n * len(task.prompts)), seed=seed, sampling=sampling)
        return [(episode.text.prompt.text, episode.text.text) for episode in episodes]

    def fitting(self, text: str) -> str:
        """Return a text cut at its beginning, so that the model has room to go on with it.

        Raises:
            ValueError: If there is room for nothing of it.
        """
        room = max(1, self._context - self._settings.task.max_new_tokens)
        token_ids = self._encode(text)
        n_tokens, n_kept = len(token_ids), room
        # What begins within a character, or within a word, may be read as more tokens than it was cut to.
        while n_tokens > room and n_kept:
            text = str(self.tokenizer.decode(token_ids[-n_kept:])).lstrip(REPLACEMENT)
            n_tokens, n_kept = len(self._encode(text)), n_kept - 1
        if token_ids and not n_tokens:
            raise ValueError(
                f"{self._settings.task.max_new_tokens} new tokens leave room for {room} of the {self._context} tokens "
                "that the model reads, not enough for a character; lower max_new_tokens."
            )
        return text

    @property
    def _context(self) -> int:
        """Tokens that the model reads."""
        positions: int | None = getattr(self._language_model.config, "max_position_embeddings", None)
        longest: int = self.tokenizer.model_max_length
        return min(longest, positions or longest)

    def _encode(self, text: str) -> list[int]:
        return encode_texts(self.tokenizer, [text], "text")[0]

    def _policy_of(self, task: TextTask) -> GPT2Policy:
        """Return the policy, made anew only where a task has longer contexts than any before."""
        if self._policy is None or task.context_length > self._context_length:
            env = TextGenVecEnv(1, task)
            self._policy = GPT2Policy(
                env.observation_space,
                env.action_space,
                _no_learning,
                model=self._language_model,
                temperature=self._temperature,
                token_rules=token_rules(task),
            )
            self._policy.set_training_mode(False)
            self._context_length = task.context_length
        return self._policy


def _no_reward(completions: Sequence[str], **columns: Any) -> list[float]:
    return [0.0 for _ in completions]


def _no_learning(progress_remaining: float) -> float:
    return 0.0
