"""Show training while it happens: a bar with tokens a second, and below it score, terms, KL and entropy."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text
from stable_baselines3.common.callbacks import BaseCallback

from .curves import TERM_PREFIX
from .stopping import StopRequest

FIGURES = (("rollout/kl", "KL"), ("rollout/entropy", "entropy"))


class ProgressCallback(BaseCallback):
    """Shows progress on a console: live in a terminal, elsewhere one line for each rollout.

    Args:
        console: Where to show it.
        total_tokens: Tokens at which training ends.
        stop: The wish to stop, shown below the bar when it comes.

    Attributes:
        tokens_per_second: Tokens of this session divided by its time, updates included; None before the first update.
    """

    def __init__(self, console: Console, total_tokens: int, stop: StopRequest) -> None:
        super().__init__()
        self.console = console
        self.total_tokens = total_tokens
        self.stop_request = stop
        self.tokens_per_second: float | None = None
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} tokens"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._bar: TaskID | None = None
        self._figures = Text()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=5, transient=True)
        self._started_at = 0.0
        self._tokens_at_start = 0

    def stop(self) -> None:
        """Take the bar away; also needed where training was interrupted."""
        self.stop_request.is_shown = False
        self._live.stop()

    def _on_training_start(self) -> None:
        self._started_at = time.monotonic()
        self._tokens_at_start = self.num_timesteps
        self._bar = self._progress.add_task(
            "generating", total=self.total_tokens, completed=self.num_timesteps, speed="- tokens/s"
        )
        if self.console.is_terminal:
            self._live.start()
            self.stop_request.is_shown = True

    def _on_rollout_start(self) -> None:
        self._measure()
        self._show("generating")

    def _on_rollout_end(self) -> None:
        values = self.logger.name_to_value
        terms = [(name, name.removeprefix(TERM_PREFIX)) for name in values if name.startswith(TERM_PREFIX)]
        shown = [("rollout/score", "score"), *terms, *FIGURES]
        parts = [f"{label} {values[name]:.3f}" for name, label in shown if name in values]
        self._figures = Text("  " + " · ".join(parts), style="bold")
        self._show("updating  ")
        if not self.console.is_terminal:
            speed = f"{self.tokens_per_second:,.0f} tokens/s · " if self.tokens_per_second else ""
            line = f"{self.num_timesteps:,} of {self.total_tokens:,} tokens · {speed}{' · '.join(parts)}"
            self.console.print(line, soft_wrap=True, highlight=False)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._measure()

    def _measure(self) -> None:
        n_tokens = self.num_timesteps - self._tokens_at_start
        if n_tokens:
            self.tokens_per_second = n_tokens / (time.monotonic() - self._started_at)

    def _show(self, doing: str) -> None:
        if self._bar is None:
            return
        speed = f"{self.tokens_per_second:,.0f} tokens/s" if self.tokens_per_second else "- tokens/s"
        completed = min(self.num_timesteps, self.total_tokens)
        self._progress.update(self._bar, completed=completed, description=doing, speed=speed)

    def _render(self) -> RenderableType:
        return Group(self._progress, self._figures, self.stop_request)
