"""A reward for the answers to reasoning-gym's questions, by the scoring of the generator that asked them."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from .arguments import check_text, describe
from .extras import require_package
from .function import RewardFunction
from .registry import register_reward


@register_reward("reasoning_answer")
class ReasoningAnswer(RewardFunction):
    """How right an answer is to a question of reasoning-gym, 0 to 1, as the question's generator scores it.

    Many a generator gives a part of 1 for an answer in the wrong form, or among other words. The column `entry` holds
    what was asked; `textgym.benchmarks.tasks.reasoning.reasoning_prompts` makes such prompts. Needs the extra
    `reasoning`. White space at both ends of the completion does not count.

    Args:
        generator: Its name, such as "chain_sum".
        options: What it was configured with; None for its defaults.
        name: Name of the term; None for "reasoning_answer".

    Raises:
        ValueError: If there is no such generator (with the nearest match), or it refuses the options.
        TypeError: If an argument is of the wrong type.
        MissingPackageError: If reasoning-gym is not installed.

    Reference:
        Stojanovski et al. (2025), arXiv:2505.24760.
    """

    declared_range = (0.0, 1.0)

    def __init__(self, generator: str, options: Mapping[str, Any] | None = None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        check_text("generator", generator)
        if options is not None and not isinstance(options, Mapping):
            raise TypeError(f"options must be a mapping, such as {{'min_terms': 2}}, got {describe(options)}.")
        self.generator = generator
        self.options = None if options is None else dict(options)
        self._questions = make_questions(generator, size=1, seed=0, options=options)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return each completion's score, 0 to 1.

        Raises:
            ValueError: If the prompts have no column `entry`.
        """
        if "entry" not in columns:
            raise ValueError(
                "ReasoningAnswer needs the column 'entry' beside each prompt, which holds reasoning-gym's question, "
                "answer and metadata; reasoning_prompts of textgym.benchmarks.tasks.reasoning makes such prompts."
            )
        return [
            float(self._questions.score_answer(text.strip(), entry))
            for text, entry in zip(completions, columns["entry"], strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_questions"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._questions = make_questions(self.generator, size=1, seed=0, options=self.options)


def make_questions(generator: str, size: int, seed: int, options: Mapping[str, Any] | None = None) -> Any:
    """Return reasoning-gym's data set of a generator: a sequence of entries, with `score_answer(answer, entry)`.

    Args:
        generator: Its name.
        size: Number of entries, at least 1.
        seed: Decides them.
        options: What to configure it with; None for its defaults.

    Raises:
        ValueError: If there is no such generator (with the nearest match), or it refuses the options.
        MissingPackageError: If reasoning-gym is not installed.
    """
    factory = require_package("reasoning_gym.factory", "reasoning", "ReasoningAnswer")
    require_package("reasoning_gym", "reasoning", "ReasoningAnswer")  # which registers the generators
    if generator not in factory.DATASETS:
        near = difflib.get_close_matches(generator, factory.DATASETS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"reasoning-gym has no generator {generator!r}.{hint}")
    try:
        return factory.create_dataset(generator, **{**(options or {}), "size": size, "seed": seed})
    except (AssertionError, TypeError) as error:
        raise ValueError(f"reasoning-gym's {generator} refuses the options {dict(options or {})}: {error}.") from error
