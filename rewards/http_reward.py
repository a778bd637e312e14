"""A reward that a server gives: batches by HTTP, with a time limit, and tried again where that may help."""

import asyncio
import json
import os
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from textgym.async_rewards import begin, wait_for
from textgym.reward_protocol import RewardResult
from textgym.reward_validation import RewardError, is_column

from .arguments import check_integer, check_number, check_text
from .composite import CompositeReward
from .extras import require_package
from .registry import register_reward

TOKEN_VARIABLE = "TEXTGYM_REWARD_TOKEN"
LONGEST_WAIT = 10.0  # seconds between two tries
_TRY_AGAIN = (408, 425, 429)  # and all from 500 on


@register_reward("http")
class HttpReward(CompositeReward):
    """What a server says of completions, such as the one of `textgym serve-reward`. Range and unit are the server's.

    A batch is sent as one POST of JSON, `{"prompts": [...], "completions": [...], "completion_ids": [...], "columns":
    {...}}`, and the answer is `{"scores": [...]}`, a number or null a completion, optionally with `"terms"` (a list of
    such for each name) and `"token_rewards"` (a list of numbers, or null, a completion).

    Where the server cannot be reached, breaks off, has not answered in full in time or answers that it is unable
    (status 5xx, 408, 425, 429), the batch is tried again, after 1, 2, 4 … `backoff`, at most 10 seconds. If the last
    try fails, or the answer is of another form, training stops with an error; a failure is never a score of 0.

    A token, where the server asks for one, is read from an environment variable at each request, so that it stands in
    no file, log or pickle: `token_variable="LAB_TOKEN"` where servers have different ones. Needs the extra `http`.

    Args:
        url: Where to POST to, `http://` or `https://`, without a password.
        timeout: Seconds that one try may take from connecting to the answer's last byte, above 0.
        tries: How often a batch is sent at most, at least 1.
        backoff: Seconds before the second try, at least 0; doubled for each further one.
        batch_size: Completions in one request, at least 1.
        token_variable: Name of the environment variable that holds the token; the default one need not be set.
        name: Name of the term; None for "http_reward", or the terms that the server reports.

    Raises:
        ValueError: If the URL is none or has a password, a number is out of range, or `token_variable` is no name.
        TypeError: If an argument is of the wrong type.
        MissingPackageError: If httpx2 or tenacity is not installed.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 60.0,
        tries: int = 4,
        backoff: float = 0.5,
        batch_size: int = 256,
        token_variable: str = TOKEN_VARIABLE,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        _check_url(url)
        check_number("timeout", timeout, above=0)
        check_integer("tries", tries, least=1)
        check_number("backoff", backoff, least=0)
        check_integer("batch_size", batch_size, least=1)
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
        self.batch_size = batch_size
        self.token_variable = token_variable
        self._clients: dict[int, Any] = {}
        _ = _httpx(), _tenacity()

    @property
    def waits(self) -> bool:
        """True: the work is the server's."""
        return True

    def evaluate(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> RewardResult:
        """Score N completions, with the terms that the server reports.

        Args:
            prompts: Prompt of each completion, length N.
            completions: The texts, length N.
            **columns: Those of length N are sent, and have to be what JSON can hold.

        Raises:
            RewardError: If the server fails after the last try, refuses, or answers in another form.
            TypeError: If a column is not what JSON can hold.
        """
        size = len(completions)
        sent = {key: list(values) for key, values in columns.items() if is_column(values, size)}
        results = [
            self._score_batch(
                list(prompts[start:end]), list(completions[start:end]), {key: sent[key][start:end] for key in sent}
            )
            for start, end in ((start, start + self.batch_size) for start in range(0, size, self.batch_size))
        ]
        names = list(dict.fromkeys(name for result in results for name in result.terms))
        terms = {
            name: [value for result in results for value in result.terms.get(name, [None] * len(result.scores))]
            for name in names
        }
        return RewardResult(
            [score for result in results for score in result.scores],
            terms,
            [tokens for result in results for tokens in result.token_rewards],
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clients": {}}

    def _client(self) -> Any:
        """Return connections that are kept open as long as this reward is there; made anew in another process."""
        process = os.getpid()
        if process not in self._clients:
            # No time limit of its own, which would be one for each byte.
            client = _httpx().AsyncClient(timeout=None)
            # At the end of the process its connections close anyway, while its threads may be gone.
            weakref.finalize(self, _close, client, process).atexit = False
            self._clients = {process: client}
        return self._clients[process]

    def _score_batch(
        self, prompts: Sequence[str], completions: Sequence[str], columns: dict[str, Sequence[Any]]
    ) -> RewardResult:
        body = {
            "prompts": prompts,
            "completions": completions,
            "completion_ids": columns.pop("completion_ids", None),
            "columns": columns,
        }
        try:
            answer = self._post(_to_json(body))
            return self._read(answer, len(prompts))
        except _ServerError as error:
            problem = f"{error}; the batch's first completion is:"
            raise RewardError(problem, prompts[0], completions[0]) from error

    def _post(self, body: bytes) -> Any:
        """Return what the server answers, trying again where that may help."""
        httpx, tenacity = _httpx(), _tenacity()
        token = self._token()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=tenacity.wait_exponential(multiplier=self.backoff, max=LONGEST_WAIT),
            retry=tenacity.retry_if_exception_type((httpx.TransportError, _UnableError)),
            reraise=True,
        )
        try:
            response = retrying(self._send, body, headers)
        except (httpx.TransportError, _UnableError) as error:
            reason = str(error) if isinstance(error, _UnableError) else f"{type(error).__name__} ({error})"
            times = "once" if self.tries == 1 else f"{self.tries} times"
            raise _ServerError(
                f"The reward server {self.url} was tried {times} and failed, last by {reason}"
            ) from error
        try:
            return response.json()
        except ValueError as error:
            raise _ServerError(
                f"The reward server {self.url} must answer in JSON, got {self._short(response)}"
            ) from error

    def _token(self) -> str | None:
        token = os.environ.get(self.token_variable)
        if not token:
            if self.token_variable == TOKEN_VARIABLE:
                return None
            raise _ServerError(
                f"The token for the reward server {self.url} must be in the environment variable "
                f"{self.token_variable}, which is not set"
            )
        if not (token.isascii() and token.isprintable()):
            raise _ServerError(
                f"The environment variable {self.token_variable} must hold a token of printable ASCII characters, and "
                "no line's end"
            )
        return token

    async def _request(self, body: bytes, headers: Mapping[str, str]) -> Any:
        async with asyncio.timeout(self.timeout):
            return await self._client().post(self.url, content=body, headers=headers)

    def _send(self, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            response = wait_for(self._request(body, headers))
        except TimeoutError as error:
            raise _UnableError(f"no whole answer within {self.timeout:g} seconds") from error
        if response.status_code >= 500 or response.status_code in _TRY_AGAIN:
            raise _UnableError(f"status {response.status_code}: {self._short(response)}")
        if response.status_code == 401:
            raise _ServerError(
                f"The reward server {self.url} refused the token; set the environment variable {self.token_variable} "
                "to it"
            )
        if response.status_code != 200:
            raise _ServerError(
                f"The reward server {self.url} refused the batch with status {response.status_code}: "
                f"{self._short(response)}"
            )
        return response

    def _short(self, response: Any) -> str:
        """Return the beginning of an answer, or the problem that our own server words."""
        text = response.text
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        if isinstance(data, dict) and isinstance(data.get("error"), str):
            text = data["error"]
        return repr(self._without_token(text)[:300])

    def _without_token(self, text: str) -> str:
        """Return what a server answered as it may be logged: some repeat the request."""
        token = os.environ.get(self.token_variable)
        return text.replace(token, "[token]") if token else text

    def _read(self, answer: Any, size: int) -> RewardResult:
        """Return the answer as a result; what is in the lists is checked where all results are."""
        if not isinstance(answer, Mapping) or "scores" not in answer:
            raise _ServerError(
                f'The reward server {self.url} must answer {{"scores": [...]}}, got '
                f"{self._without_token(str(answer))[:200]!r}"
            )
        scores = answer["scores"]
        terms = answer.get("terms") or {self.term_name: scores}
        if self.name is not None:
            terms = {self.name: scores}
        token_rewards = answer.get("token_rewards") or [None] * size
        if not isinstance(terms, Mapping):
            raise _ServerError(
                f"The reward server {self.url} must give terms as an object, got "
                f"{self._without_token(str(terms))[:200]!r}"
            )
        for name, values in {"scores": scores, "token_rewards": token_rewards, **terms}.items():
            if not isinstance(values, list) or len(values) != size:
                got = f"{len(values)} entries" if isinstance(values, list) else self._without_token(repr(values))[:200]
                raise _ServerError(
                    f"The reward server {self.url} must give one entry of {name!r} per completion, got {got} for {size}"
                )
        return RewardResult([0.0 if score is None else score for score in scores], dict(terms), token_rewards)


class _ServerError(Exception):
    """What is wrong with the server, in words."""


class _UnableError(Exception):
    """The server says that it is unable to answer now."""


def _to_json(body: Mapping[str, Any]) -> bytes:
    try:
        # Half of a surrogate pair, which a decoder of bytes may leave, cannot be sent as UTF-8, so all is escaped.
        return json.dumps(body, ensure_ascii=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"A reward server gets only columns that JSON can hold: {error}.") from error


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
