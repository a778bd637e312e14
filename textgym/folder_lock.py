"""Keep a folder to one process at a time, by a lock of the operating system that ends with the process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out of a folder while this is entered.

    Args:
        folder: The folder. The file `.lock` in it stays behind: whoever locks it next may have opened it already.
        refusal: What to say when another process is in it.

    Raises:
        ValueError: If another process is in it.
        OSError: If the file cannot be made.
    """
    from filelock import FileLock, Timeout  # the help of a command needs no lock

    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(refusal) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held_output(folder: Path, refusal: str) -> Iterator[None]:
    """Make an output folder where there is none, and keep other processes out of it while this is entered.

    Args:
        folder: The folder.
        refusal: What to say when another process is in it.

    Raises:
        ValueError: If another process is in it, or it cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"The output {folder} is a file; name a folder.")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_folder(folder, refusal))
        except OSError as error:
            raise ValueError(f"The output folder {folder} cannot be made or written to: {error.strerror}.") from error
        yield
