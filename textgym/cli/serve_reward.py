"""`textgym serve-reward`: give a reward to programs on this machine, or on others."""

import os
import secrets
import socket
import sys
from typing import Annotated

import typer

from .errors import checked_input
from .libraries import silence_libraries
from .own_modules import find_own_modules

LOOPBACK = "127.0.0.1"


def serve_reward(
    reward: Annotated[
        str, typer.Argument(help="What to serve: a name, module:attribute, the folder of a model, or YAML in one line.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in, who then need the token.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8000,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Largest request that is read, in MB.")] = 16.0,
    token_variable: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable that holds the token.")
    ] = "TEXTGYM_REWARD_TOKEN",
) -> None:
    r"""Serve a reward by HTTP.

    Training elsewhere then takes its URL for a reward: `textgym train --reward http://127.0.0.1:8000`. So a reward can
    run on another machine, in another environment, or be shared by several runs.

    Each request needs the token that the environment variable TEXTGYM_REWARD_TOKEN holds, here and where the training
    runs. Where it is not set, a token is made up and printed. With several servers, give each its own variable by
    --token-variable, and name it in training: `{http: {url: ..., token_variable: LAB_TOKEN}}`. The traffic is not
    encrypted: beyond this machine, put it behind a proxy with TLS or through an SSH tunnel.

    For example:

    ```
    textgym serve-reward toxicity
    textgym serve-reward my_rewards:few_letters --port 9000
    textgym serve-reward '[{keywords: {words: [sea]}, weight: 2}, ends_sentence]'
    curl -H "Authorization: Bearer $TEXTGYM_REWARD_TOKEN" -d '{"prompts": [""], "completions": ["The sea."]}' \
        http://127.0.0.1:8000
    ```
    """
    find_own_modules()
    with checked_input():
        silence_libraries()
        from textgym.reward_protocol import resolve_reward
        from textgym.rewards.extras import require_package
        from textgym.training.report import describe_reward

        for package in ("fastapi", "uvicorn"):
            require_package(package, "serve", "A reward server")
        import uvicorn

        from textgym.rewards.serving import make_app

        token = os.environ.get(token_variable) or secrets.token_urlsafe(24)
        found = resolve_reward(reward)
        app = make_app(found, token, int(max_megabytes * 1e6))
        listener = _listen(host, port)
    address, actual_port = listener.getsockname()[:2]
    print(f"The reward is {describe_reward(found)}.")
    print(f"Serving at http://{f'[{address}]' if ':' in address else address}:{actual_port}; Ctrl-C stops.")
    if not os.environ.get(token_variable):
        print(f"Where it is used: export {token_variable}={token}")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; a port that is taken is then an error before anything is said.

    Raises:
        ValueError: If there is no address.
        OSError: If the address is none of this machine's, or the port is taken.
    """
    if not host:
        raise ValueError('host must be an address such as 127.0.0.1, got ""; 0.0.0.0 stands for all of this machine.')
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from error
    return listener
