"""Decide which prompt comes next in each row: drawn at random or in order, alike within a group of rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from .task import TextTask

# Rows beside others draw the prompts of so many episodes at a time, at a fraction of the cost of one by one.
_DRAWN_AT_ONCE = 64


class PromptSchedule:
    """The sequences of prompts of B rows.

    Rows form groups of K = `task.completions_per_prompt` adjacent rows that get the same sequence of prompts; a single
    row gets each prompt K times in a row instead. In random order a row draws from its own generator; in sequential
    order the g-th of G groups takes the prompts g, g + G, g + 2 G and so on, from the first again after the last.

    Args:
        task: The task with its prompts.
        num_envs: Number of rows B, 1 or a multiple of K.

    Attributes:
        generators: Each row's random generator, None until it is first needed; `seed_row` puts in another.
        current: Index in `task.prompts` of each row's prompt, -1 before the first, shape (B,).
    """

    def __init__(self, task: TextTask, num_envs: int) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer):
            raise TypeError(f"num_envs must be an integer, got {num_envs!r}.")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
        group_size = task.completions_per_prompt
        if num_envs > 1 and num_envs % group_size:
            raise ValueError(
                f"num_envs must be 1 or a multiple of completions_per_prompt ({group_size}), got {num_envs}."
            )
        self.generators: list[np.random.Generator | None] = [None] * num_envs
        self.current = np.full(num_envs, -1, dtype=np.int64)
        self._task = task
        self._n_turns = [0] * num_envs  # in sequential order
        self._rows_per_group = group_size if num_envs > 1 else 1
        self._episodes_per_prompt = 1 if num_envs > 1 else group_size
        self._n_groups = num_envs // self._rows_per_group
        # A single row's generator is its environment's, from which others may draw in between.
        self._n_drawn_at_once = 1 if num_envs == 1 else _DRAWN_AT_ONCE
        self._upcoming: list[list[int]] = [[]] * num_envs  # of each row, the prompts known already, the next one last

    def seed(self, seeds: int | Sequence[int | None] | None, rows: Sequence[int] | None = None) -> None:
        """Give rows new generators, and let their sequences begin anew.

        Args:
            seeds: `s` seeds row i with `s + i`; a sequence holds one seed a row, where None keeps the row's generator;
                None keeps all. All rows of a group take the first seed that one of them has.
            rows: The rows to seed; None for all.

        Raises:
            ValueError: If a sequence has another length than there are rows, or only some rows of a group are seeded.
            TypeError: If it is neither an integer nor a sequence.
            gymnasium.error.Error: If a seed is negative or not an integer.
        """
        if seeds is None:
            return
        n_rows = len(self.generators)
        if isinstance(seeds, int | np.integer):
            seeds = [int(seeds) + row for row in range(n_rows)]
        if isinstance(seeds, np.ndarray):
            seeds = seeds.tolist()
        if not isinstance(seeds, Sequence) or isinstance(seeds, str):
            raise TypeError(f"A seed must be an integer or a list with one for each row, got {seeds!r}.")
        if len(seeds) != n_rows:
            raise ValueError(f"A list of seeds must hold one for each of {n_rows} rows, got {len(seeds)}.")
        chosen_rows = set(range(n_rows) if rows is None else rows)
        chosen = {row: self._seed_of_group(seeds, row) for row in sorted(chosen_rows)}
        for row, seed in chosen.items():
            if seed is not None and not chosen_rows.issuperset(self._group(row)):
                raise ValueError(
                    f"Rows {list(self._group(row))} get the same prompts, so a seed must be for all of them; "
                    "reset_mask has only some."
                )
        generators = {row: seeding.np_random(seed)[0] for row, seed in chosen.items() if seed is not None}
        for row, generator in generators.items():
            self.seed_row(row, generator)

    def seed_row(self, row: int, generator: np.random.Generator) -> None:
        """Give one row a generator, and let its sequence begin anew."""
        self.generators[row] = generator
        self._n_turns[row] = 0
        self._upcoming[row] = []

    def advance(self, rows: npt.NDArray[np.int64]) -> None:
        """Go on to the next prompt in some rows."""
        upcoming = self._upcoming
        self.current[rows] = [upcoming[row].pop() if upcoming[row] else self._look_ahead(row) for row in rows.tolist()]

    def _look_ahead(self, row: int) -> int:
        """Find out a row's next prompts, and return the first of them."""
        if self._task.prompt_order == "sequential":
            turn = self._n_turns[row]
            self._n_turns[row] = turn + 1
            prompts = [(row // self._rows_per_group + turn * self._n_groups) % len(self._task.prompts)]
        else:
            prompts = self._task.prompt_indices(self._generator(row), self._n_drawn_at_once)
        first, *others = [prompt for prompt in prompts for _ in range(self._episodes_per_prompt)]
        self._upcoming[row] = others[::-1]
        return first

    def _generator(self, row: int) -> np.random.Generator:
        generator = self.generators[row]
        if generator is not None:
            return generator
        _, seed = seeding.np_random()
        made = {each: seeding.np_random(seed)[0] for each in self._group(row)}
        for each, its_generator in made.items():
            self.generators[each] = its_generator
        return made[row]

    def _group(self, row: int) -> range:
        """Return the rows that get the same prompts as this one."""
        first = row - row % self._rows_per_group
        return range(first, first + self._rows_per_group)

    def _seed_of_group(self, seeds: Sequence[int | None], row: int) -> int | None:
        return next((seeds[each] for each in self._group(row) if seeds[each] is not None), None)
