"""A server of rewards: JSON is posted and comes back, in time, with a token, and tried again where that may help."""

import asyncio
import contextlib
import json
import os
import re
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from textgym.async_rewards import begin, wait_for

from .arguments import check_integer, check_number, check_text
from .extras import require_package

TOKEN_VARIABLE = "TEXTGYM_REWARD_TOKEN"
LONGEST_WAIT = 10.0  # seconds between two tries
# Room for the rewards of 10,000 tokens in each of 256 completions, with 20 digits each; a body without end would fill
# the memory instead.
LARGEST_ANSWER = 64 * 1024 * 1024
_TRY_AGAIN = (408, 425, 429)  # and all from 500 on


class ServerError(Exception):
    """What is wrong with a server, in words."""


class _UnableError(Exception):
    """The server says that it is unable to answer now."""


class _Answer(NamedTuple):
    """What a server answered.

    Attributes:
        status: HTTP's status code.
        body: The body, without its compression, as far as it was read.
        complaint: Why it was not read to its end, as "must …, got …"; "" where it was.
    """

    status: int
    body: bytes
    complaint: str


class RewardServer:
    """A server that takes JSON and answers in JSON; see `HttpReward` for the arguments.

    Its connections are kept open as long as it is there. It pickles without them, and without the token.

    Raises:
        ValueError: If the URL is none or has a password, a number is out of range, or `token_variable` is no name.
        TypeError: If an argument is of the wrong type.
        MissingPackageError: If httpx2 or tenacity is not installed.
    """

    def __init__(self, url: str, timeout: float, tries: int, backoff: float, token_variable: str) -> None:
        _check_url(url)
        check_number("timeout", timeout, above=0)
        check_integer("tries", tries, least=1)
        check_number("backoff", backoff, least=0)
        check_text("token_variable", token_variable)
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", token_variable):
            raise ValueError(
                "token_variable must be the name of an environment variable, of letters, digits and _; what came is "
                "not shown, as it may be the token."
            )
        self.url = url
        self.timeout = timeout
        self.tries = tries
        self.backoff = backoff
        self.token_variable = token_variable
        self._clients: dict[int, Any] = {}
        _ = _httpx(), _tenacity()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clients": {}}

    def post(self, data: Mapping[str, Any]) -> Any:
        """Return what the server answers, trying again where that may help.

        Raises:
            ServerError: If the server fails after the last try, refuses, does not answer in JSON, or with more than
                `LARGEST_ANSWER` bytes.
            TypeError: If the data is not what JSON can hold.
        """
        httpx, tenacity = _httpx(), _tenacity()
        body = _to_json(data)
        token = self._token()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=tenacity.wait_exponential(multiplier=self.backoff, max=LONGEST_WAIT),
            retry=tenacity.retry_if_exception_type((httpx.TransportError, _UnableError)),
            reraise=True,
        )
        try:
            answer = retrying(self._send, body, headers)
        except (httpx.TransportError, _UnableError) as error:
            reason = str(error) if isinstance(error, _UnableError) else f"{type(error).__name__} ({error})"
            times = "once" if self.tries == 1 else f"{self.tries} times"
            raise ServerError(f"The reward server {self.url} was tried {times} and failed, last by {reason}") from error
        # Not worth another try: what breaks on the way is a TransportError, so this is what the server sent.
        if answer.complaint:
            raise ServerError(f"The reward server {self.url} {answer.complaint}")
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise ServerError(f"The reward server {self.url} must answer in JSON, got {self._short(answer)}") from error
        except RecursionError as error:
            raise ServerError(
                f"The reward server {self.url} must answer in JSON that is nested less deeply, got "
                f"{self._short(answer)}"
            ) from error

    def show(self, text: str) -> str:
        """Return the beginning of what the server answered, as it may be logged: some repeat the request's token."""
        token = os.environ.get(self.token_variable)
        return (text.replace(token, "[token]") if token else text)[:300]

    def client(self) -> Any:
        """Return connections that are kept open as long as this server is there; made anew in another process."""
        process = os.getpid()
        if process not in self._clients:
            # No time limit of its own, which would be one for each byte.
            client = _httpx().AsyncClient(timeout=None)
            # At the end of the process its connections close anyway, while its threads may be gone.
            weakref.finalize(self, _close, client, process).atexit = False
            self._clients = {process: client}
        return self._clients[process]

    def _token(self) -> str | None:
        token = os.environ.get(self.token_variable)
        if not token:
            if self.token_variable == TOKEN_VARIABLE:
                return None
            raise ServerError(
                f"The token for the reward server {self.url} must be in the environment variable "
                f"{self.token_variable}, which is not set"
            )
        if not (token.isascii() and token.isprintable()):
            raise ServerError(
                f"The environment variable {self.token_variable} must hold a token of printable ASCII characters, and "
                "no line's end"
            )
        return token

    async def _request(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        async with (
            asyncio.timeout(self.timeout),
            self.client().stream("POST", self.url, content=body, headers=headers) as response,
        ):
            return _Answer(response.status_code, *await _read_body(response))

    def _send(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        try:
            answer = wait_for(self._request(body, headers))
        except TimeoutError as error:
            raise _UnableError(f"no whole answer within {self.timeout:g} seconds") from error
        if answer.status >= 500 or answer.status in _TRY_AGAIN:
            raise _UnableError(f"status {answer.status}: {self._short(answer)}")
        if answer.status == 401:
            raise ServerError(
                f"The reward server {self.url} refused the token; set the environment variable {self.token_variable} "
                "to it"
            )
        if answer.status != 200:
            raise ServerError(
                f"The reward server {self.url} refused the batch with status {answer.status}: {self._short(answer)}"
            )
        return answer

    def _short(self, answer: _Answer) -> str:
        """Return the beginning of an answer, or the problem that our own server words."""
        # JSON is UTF-8, UTF-16 or UTF-32; read in another of them, a token that is repeated would not be found.
        text = answer.body.decode(json.detect_encoding(answer.body), errors="replace")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and isinstance(data.get("error"), str):
            text = data["error"]
        return repr(self.show(text))


async def _read_body(response: Any) -> tuple[bytes, str]:
    """Return an answer's body as far as it can be read and may be, and the complaint."""
    body = bytearray()
    try:
        async with contextlib.aclosing(response.aiter_bytes()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > LARGEST_ANSWER:
                    most = f"{LARGEST_ANSWER // 1024**2} MiB"
                    complaint = f"must answer with at most {most}, got more; if so much is meant, lower batch_size"
                    return bytes(body), complaint
    except _httpx().DecodingError as error:
        return bytes(body), f"must answer in JSON, got a body whose compression is broken ({error})"
    return bytes(body), ""


def _to_json(data: Mapping[str, Any]) -> bytes:
    try:
        # Half of a surrogate pair, which a decoder of bytes may leave, cannot be sent as UTF-8, so all is escaped.
        return json.dumps(data, ensure_ascii=True, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"A reward server gets only columns that JSON can hold: {error}.") from error


def _plain(value: object) -> Any:
    """Return arrays, tensors and their scalars as JSON holds them: numbers, and lists of these."""
    to_list = getattr(value, "tolist", None)
    if to_list is None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return to_list()


def _check_url(url: object) -> None:
    check_text("url", url)
    address = str(url)
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"url must begin with http:// or https://, got {address!r}.")
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url must be an address such as http://127.0.0.1:8000, got {address!r}: {error}.") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "url must hold no user name and no password, which would stand in logs and files; give the server's token "
            "by token_variable."
        )
    if not host or any(character.isspace() for character in address):
        raise ValueError(f"url must be an address such as http://127.0.0.1:8000, got {address!r}.")


def _close(client: Any, process: int) -> None:
    if os.getpid() == process:  # a fork has its own
        begin(client.aclose())


def _httpx() -> Any:
    return require_package("httpx2", "http", "HttpReward")


def _tenacity() -> Any:
    return require_package("tenacity", "http", "HttpReward")
