"""Ctrl-C and SIGTERM as a wish to stop, which training grants between two rollouts, when all can be saved."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICE = "Stopping after this rollout and its update; once more to stop at once."


class TrainingStopped(Exception):  # noqa: N818 (not an error)
    """Training has stopped as asked to, and everything is saved.

    Attributes:
        signal: What asked for it.
    """

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received)
        self.signal = received


class StopRequest:
    """While it is entered, the first signal is noted; another one raises KeyboardInterrupt at once.

    Outside the main thread, which alone may handle signals, it does nothing.

    Args:
        notice: What is said when the first signal comes; rich shows it, too, where this is a part of what is shown.

    Attributes:
        received: The signal that came; None if none did.
        is_shown: Whether a live display shows the notice, which would soon draw over one that is written.
    """

    def __init__(self, notice: str = NOTICE) -> None:
        self.notice = notice
        self.is_shown = False
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "StopRequest":
        """Begin to handle signals."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Handle signals as before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show the notice, once there is a signal: a live display may hold this from its beginning."""
        if self.received is not None:
            yield Text(self.notice, style="bold yellow")

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if not self.is_shown:
            # Not through rich or sys.stderr: the signal may have come in the middle of their own writing.
            os.write(2, f"\n{self.notice}\n".encode())
