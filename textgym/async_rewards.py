"""Wait for rewards that are `async` functions, from code that is not."""

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def wait_for(awaitable: Awaitable[Result]) -> Result:
    """Run what an async reward returned to its end, and return the result.

    All of a process's async rewards run in one event loop, which lives in a thread of its own: a client that a reward
    keeps between calls stays with its loop, it makes no difference whether the caller has a loop itself (as in a
    notebook), and rewards that are waited for in several threads wait together.

    Raises:
        RuntimeError: If it is called from within an async reward, which would wait for itself.
    """
    thread, _ = _background_loop(os.getpid())
    if threading.current_thread() is thread:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise RuntimeError(
            "An async reward called another one without await; call it as `await reward(...)`, and a reward server as "
            "`await asyncio.to_thread(reward, ...)`."
        )
    return begin(awaitable).result()


def begin(awaitable: Awaitable[Result]) -> Future[Result]:
    """Run an awaitable in the loop of async rewards, and return at once."""
    _, loop = _background_loop(os.getpid())
    return asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), loop)


async def _as_coroutine(awaitable: Awaitable[Result]) -> Result:
    return await awaitable


@functools.cache
def _background_loop(process: int) -> tuple[threading.Thread, asyncio.AbstractEventLoop]:
    """Start the loop's thread; once a process, since a fork leaves the thread behind."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="async-rewards", daemon=True)
    thread.start()
    return thread, loop
