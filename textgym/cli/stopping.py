"""SIGTERM as Ctrl-C, so that a command that starts processes ends them rather than leaves them behind."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_terminate() -> Iterator[None]:
    """While it is entered, SIGTERM raises KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
