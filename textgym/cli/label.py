"""`textgym label`: the page on which people rate, compare and chat."""

import errno
import ipaddress
import socket
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import checked_input, needs_extra, refuse

if TYPE_CHECKING:
    from textgym.feedback.store import FeedbackStore


def label(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE", help="A SQLite file, which is made if it is not there, or a postgresql:// URL."
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Who answers in chats: a run folder, a model folder, a hub name.")
    ] = "bundled",
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but the loopback's needs people with passwords.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    passwords: Annotated[
        bool | None,
        typer.Option("--passwords/--no-passwords", help="Ask for passwords. [default: unless on the loopback address]"),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open the page on which people rate, compare and chat.

    Put something to be judged into the store first: textgym feedback import STORE FILE. Each answer is in the store
    before the page says that it is saved; stop the page with Ctrl-C whenever you like.

    For people on other machines give each a password (textgym feedback person STORE NAME), and --host 0.0.0.0; put a
    proxy that speaks HTTPS before it.
    """
    needs_extra("feedback", "fastapi")
    is_loopback = _is_loopback(host)
    needs_password = not is_loopback if passwords is None else passwords
    if not needs_password and not is_loopback:
        refuse(f"--no-passwords is for the loopback address; on {host} anybody could write into the store.")
    with checked_input():
        from textgym.feedback.store import FeedbackStore
        from textgym.training.run_folder import RunFolder

        _check_model(model)
        opened = FeedbackStore(store)
        settings = RunFolder(Path(model)).settings_or_defaults()
        if needs_password:
            _check_people(opened)
        try:
            listening = _listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise ValueError(f"another program uses port {port} of {host}; choose another one by --port.") from error
    import uvicorn

    from textgym.feedback.answering import ModelAnswerer
    from textgym.feedback.server import PageOptions, make_app

    shown = f"[{host}]" if ":" in host else host
    answerer = ModelAnswerer(model, settings)
    app = make_app(opened, PageOptions(answerer, model, needs_password, is_loopback, other_names=(shown,)))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    address = f"http://{shown}:{listening.getsockname()[1]}"
    print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
    if browser and is_loopback and sys.stdout.isatty():
        webbrowser.open(address)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        opened.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    if ":" not in host:
        return socket.create_server((host, port))
    # [::] is every address of the machine, those of the older kind included.
    is_dual = not ipaddress.ip_address(host.partition("%")[0]).is_loopback and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=is_dual)


def _check_model(model: str) -> None:
    """Raise ValueError if what answers in chats is a folder that is not there; it is loaded when somebody chats."""
    # A name on the hub has at most one slash.
    is_place = model.startswith(("/", ".", "~")) or model.count("/") > 1
    if is_place and not Path(model).is_dir():
        raise ValueError(f"there is no folder {model} with a model to answer in chats; see --model.")


def _check_people(store: "FeedbackStore") -> None:
    from sqlalchemy import func, select

    from textgym.feedback.tables import Annotator

    with store.reading() as session:
        n_people = session.scalar(select(func.count(Annotator.id)).where(Annotator.password_hash.is_not(None)))
    if not n_people:
        raise ValueError(
            f"nobody in {store.place} has a password; add people by: textgym feedback person {store.place} NAME --owner"
        )
