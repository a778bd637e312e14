"""Ctrl-C is seen to be heard: below a live bar, which would draw over a line that is written, or else on a line."""

import io
import os
import signal

import pytest
from rich.console import Console

from textgym.training.progress_bar import ProgressCallback
from textgym.training.stopping import NOTICE, StopRequest


def test_a_bar_shows_the_notice_as_long_as_it_lives(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with StopRequest() as stop:
        progress = ProgressCallback(console, 100, stop)
        progress._on_training_start()
        os.kill(os.getpid(), signal.SIGINT)
        drawn = []
        for _ in range(2):
            with console.capture() as capture:
                progress._live.refresh()
            drawn.append(capture.get())
        progress.stop()
    assert all(NOTICE in one for one in drawn)
    assert capfd.readouterr().err == ""


def test_a_bar_says_nothing_of_stopping_before_it_is_asked_to(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with StopRequest() as stop:
        progress = ProgressCallback(console, 100, stop)
        progress._on_training_start()
        with console.capture() as capture:
            progress._live.refresh()
        progress.stop()
        assert NOTICE not in capture.get()
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == f"\n{NOTICE}\n", "the bar was gone"
