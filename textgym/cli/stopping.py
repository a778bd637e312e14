"""SIGTERM and a closed terminal as Ctrl-C, so that a command ends the processes that it has started."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_terminate() -> Iterator[None]:
    """While it is entered, SIGTERM raises KeyboardInterrupt, and so does SIGHUP, which a closed terminal sends."""
    stopping = [signal.SIGTERM]
    # Whoever starts a command by nohup means it to outlive the terminal.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        stopping.append(signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in stopping}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
