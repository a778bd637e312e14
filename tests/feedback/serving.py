"""The page on a free port: the command in a process of its own, or in this one with an answerer of the test's."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import httpx
import uvicorn

from textgym.feedback.chats import Answer, Exchange
from textgym.feedback.server import PageOptions, make_app
from textgym.feedback.store import FeedbackStore


class Served(NamedTuple):
    """A page that is being served.

    Attributes:
        url: Its address.
        process: Its server.
    """

    url: str
    process: subprocess.Popen[str]

    def person(self, name: str, password: str = "") -> httpx.Client:
        """Return a client in which a person has signed in."""
        # There is no certificate to verify; reading all of the machine's takes longer than a hundred requests.
        client = httpx.Client(base_url=self.url, timeout=300, verify=False)
        try:
            answer = client.post("/api/sign-in", json={"name": name, "password": password})
            assert answer.status_code == 200, answer.text
        except BaseException:
            client.close()
            raise
        return client

    def kill(self) -> None:
        """End the server as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def served(place: str | Path, *options: object) -> Iterator[Served]:
    """Serve a store until the block is left."""
    command = [sys.executable, "-c", "from textgym.cli import app; app()", "label", str(place)]
    arguments = [*command, "--no-browser", "--port", "0", *map(str, options)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, line
        yield Served(found.group(), process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def echo(exchanges: list[Exchange], said: str) -> Answer:
    """Answer with what was said, and how often something was said before."""
    context = "\n".join([*(one.said + one.answer for one in exchanges), said])
    return Answer(context, f" echo {len(exchanges)} of {said}")


@contextmanager
def served_here(store: FeedbackStore) -> Iterator[str]:
    """Serve a store from a thread of this process, with `echo` to chat with; give its address."""
    app = make_app(store, PageOptions(echo, "echo"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
