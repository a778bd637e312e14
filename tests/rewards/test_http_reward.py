"""The HTTP reward against real servers on this machine: honest, slow, failing, lying and dying ones."""

import asyncio
import contextlib
import gc
import gzip
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch

from textgym.async_rewards import wait_for
from textgym.reward_protocol import RewardError, RewardResult, resolve_reward, score_completions
from textgym.rewards import HttpReward, Keywords, build_reward, reward_to_data

pytest.importorskip("httpx2", reason="needs the extra http")

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Server:
    """A server that answers each POST by the next of some functions, and by the last from then on."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append(body)
                server.headers.append(dict(self.headers))
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                answer(self, body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*answers: Answer) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def send(handler: BaseHTTPRequestHandler, data: Any, status: int = 200, encoding: str | None = None) -> None:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    handler.send_response(status)
    if encoding is not None:
        handler.send_header("Content-Encoding", encoding)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def lengths(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(handler, {"scores": [len(text) for text in body["completions"]]})


def answering(data: Any, status: int = 200, encoding: str | None = None) -> Answer:
    return lambda handler, body: send(handler, data, status, encoding)


def break_off(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Promise more than is sent, and die."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"scores": [')
    handler.close_connection = True


def sleep(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    time.sleep(1.0)
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, text: bytes) -> None:
    """Send a byte at a time, never silent for long, until the other side has had enough."""
    with contextlib.suppress(OSError):
        for byte in text:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.02)
    handler.close_connection = True


def drip_body(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    answer = b" " * 200 + b'{"scores": [1, 1]}'
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(answer)))
    handler.end_headers()
    drip(handler, answer)


def drip_head(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    drip(handler, b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 200 + b"\r\nContent-Length: 15\r\n\r\n" + b'{"scores": [1]}')


def never_end(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Send a body without end, until the other side has had enough."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 1024 * 1024)


def score(reward: Any, *completions: str, **columns: Any) -> RewardResult:
    ids = [[len(text)] for text in completions]
    return score_completions(reward, ["Q"] * len(completions), completions, columns, ids)


def test_a_url_is_a_reward_in_a_sum_and_batches_are_posted(serve: Callable[..., Server]) -> None:
    server = serve(lengths)
    reward = build_reward(
        [{server.url: {"batch_size": 2, "name": "length"}, "weight": 0.5}, {"keywords": {"words": ["a"]}}]
    )
    result = score(reward, "a", "很好", "\ud800", topic=["x", "y", None])
    assert result.scores == [1.5, 1.0, 0.5]
    assert result.terms == {"length": [1, 2, 1], "keywords": [1, 0, 0]}
    assert server.requests == [
        {
            "prompts": ["Q", "Q"],
            "completions": ["a", "很好"],
            "completion_ids": [[1], [2]],
            "columns": {"topic": ["x", "y"]},
        },
        {"prompts": ["Q"], "completions": ["\ud800"], "completion_ids": [[1]], "columns": {"topic": [None]}},
    ]


def test_terms_nulls_and_token_rewards_are_read(serve: Callable[..., Server]) -> None:
    data = {"scores": [3.0, None], "terms": {"tone": [1, None], "size": [2, None]}, "token_rewards": [[3.0], None]}
    result = score(resolve_reward(serve(answering(data)).url), "a", "b")
    assert result == RewardResult([3.0, 0.0], {"tone": [1.0, None], "size": [2.0, None]}, [[3.0], None])
    unnamed = score(HttpReward(serve(answering({"scores": [1, None]})).url), "a", "b")
    assert unnamed == RewardResult([1.0, 0.0], {"http_reward": [1.0, None]}, [None, None])


def test_a_compressed_answer_is_read(serve: Callable[..., Server]) -> None:
    server = serve(answering(gzip.compress(b'{"scores": [1, 2]}'), encoding="gzip"))
    assert score(HttpReward(server.url), "a", "b").scores == [1.0, 2.0]


@pytest.mark.parametrize(
    "failure",
    [
        answering("busy", 503),
        answering("later", 429),
        answering("no gzip", 502, "gzip"),
        break_off,
        sleep,
        drip_body,
    ],
)
def test_what_may_pass_is_tried_again(serve: Callable[..., Server], failure: Answer) -> None:
    server = serve(failure, failure, lengths)
    reward = HttpReward(server.url, timeout=0.3, tries=3, backoff=0.01)
    assert score(reward, "abc").scores == [3.0]
    assert len(server.requests) == 3


def test_the_wait_between_tries_doubles(serve: Callable[..., Server]) -> None:
    server = serve(answering("busy", 503), answering("busy", 503), answering("busy", 503), lengths)
    start = time.monotonic()
    score(HttpReward(server.url, backoff=0.1), "a")
    assert time.monotonic() - start >= 0.1 + 0.2 + 0.4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answering("busy", 503), "status 503: '\"busy\"'"),
        (break_off, "RemoteProtocolError ("),
        (sleep, "no whole answer within 0.2 seconds; "),
        (drip_body, "no whole answer within 0.2 seconds; "),
        (drip_head, "no whole answer within 0.2 seconds; "),
    ],
)
def test_after_the_last_try_the_error_says_what_happened(
    serve: Callable[..., Server], answer: Answer, reason: str
) -> None:
    server = serve(answer)
    with pytest.raises(RewardError) as caught:
        score(Keywords(["a"]) + HttpReward(server.url, timeout=0.2, tries=2, backoff=0), "first", "second")
    assert str(caught.value).startswith(
        f"The reward server {server.url} was tried 2 times and failed, last by {reason}"
    )
    assert str(caught.value).endswith("; the batch's first completion is:\n  prompt: 'Q'\n  completion: 'first'")
    assert len(server.requests) == 2


def test_a_server_that_is_gone_is_an_error(serve: Callable[..., Server]) -> None:
    server = serve(lengths)
    reward = HttpReward(server.url, tries=2, backoff=0)
    assert score(reward, "ab").scores == [2.0]
    server.close()
    server.answers = [break_off]
    with pytest.raises(RewardError, match="was tried 2 times and failed, last by"):
        score(reward, "ab")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            answering({"scores": [1.0]}),
            "must give one entry of 'scores' per completion, got 1 entries for 2; the batch's first completion is:",
        ),
        (
            answering({"scores": [1.0, 2.0], "terms": {"tone": [1.0]}}),
            "must give one entry of 'tone' per completion, got 1 entries for 2; ",
        ),
        (answering({"scores": 1.0}), "must give one entry of 'scores' per completion, got 1.0 for 2; "),
        (answering([1.0, 2.0]), "must answer {\"scores\": [...]}, got '[1.0, 2.0]'; "),
        (answering(b"<html>"), "must answer in JSON, got '<html>'; "),
        (answering(gzip.compress(b'{"scores": [1, 2]}')[:-12], encoding="gzip"), "must answer in JSON, got '{\"scores"),
        (
            answering({"scores": [1, 2]}, encoding="gzip"),
            (
                "must answer in JSON, got a body whose compression is broken (Error -3 while decompressing data: "
                "incorrect header check); the batch's first completion is:"
            ),
        ),
        (
            answering(b"[" * 100_000),
            f"must answer in JSON that is nested less deeply, got '{'[' * 300}'; the batch's first completion is:",
        ),
        (answering("no such path", 404), "refused the batch with status 404: '\"no such path\"'; "),
        (
            answering("who are you?", 401),
            "refused the token; set the environment variable TEXTGYM_REWARD_TOKEN to it; ",
        ),
    ],
)
def test_an_answer_of_another_form_is_an_error_at_once(
    serve: Callable[..., Server], answer: Answer, problem: str
) -> None:
    server = serve(answer)
    with pytest.raises(RewardError) as caught:
        score(HttpReward(server.url, backoff=0), "a", "b")
    assert str(caught.value).startswith(f"The reward server {server.url} {problem}")
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [never_end, answering(gzip.compress(b" " * 65 * 1024 * 1024), encoding="gzip")])
def test_an_answer_that_would_fill_the_memory_is_not_read_to_its_end(
    serve: Callable[..., Server], answer: Answer
) -> None:
    server = serve(answer)
    with pytest.raises(RewardError) as caught:
        score(HttpReward(server.url, timeout=10, backoff=0, tries=2), "a")
    assert str(caught.value).startswith(
        f"The reward server {server.url} must answer with at most 64 MiB, got more; if so much is meant, lower "
        "batch_size; the batch's first completion is:"
    )
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["high", float("nan"), [0.5, 0.5]])
def test_a_score_that_is_no_number_is_an_error(serve: Callable[..., Server], value: Any) -> None:
    server = serve(answering({"scores": [1.0, value]}))
    with pytest.raises(RewardError, match="'http_reward' must give each completion a finite number"):
        score(HttpReward(server.url), "a", "b")


def test_columns_have_to_be_what_json_can_hold(serve: Callable[..., Server]) -> None:
    with pytest.raises(RewardError, match="A reward server gets only columns that JSON can hold: Object of type set"):
        score(HttpReward(serve(lengths).url), "a", topic=[{1, 2}])


def test_columns_of_numpy_and_torch_numbers_are_sent_as_numbers(serve: Callable[..., Server]) -> None:
    server = serve(lengths)
    score(HttpReward(server.url), "a", "b", level=list(np.array([1, 2])), place=[torch.tensor([0.5, 1.0]), np.ones(1)])
    assert server.requests[0]["columns"] == {"level": [1, 2], "place": [[0.5, 1.0], [1.0]]}


def test_the_token_comes_from_the_environment_and_is_never_printed(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lengths)
    reward = HttpReward(server.url, tries=2)
    score(reward, "a")
    monkeypatch.setenv("TEXTGYM_REWARD_TOKEN", "secret")
    score(reward, "a")
    assert [headers.get("Authorization") for headers in server.headers] == [None, "Bearer secret"]
    assert "secret" not in repr(reward) + str(pickle.dumps(reward)) + str(reward_to_data(reward))
    copy = pickle.loads(pickle.dumps(reward))
    assert copy == reward == eval(repr(reward)) == build_reward(reward_to_data(reward))
    assert score(copy, "abc").scores == [3.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"url": "http://"},
            "url must be an address such as http://127.0.0.1:8000, got 'http://'.",
        ),
        (
            {"url": "http://here:port"},
            (
                "url must be an address such as http://127.0.0.1:8000, got 'http://here:port': Port could not be "
                "cast to integer value as 'port'."
            ),
        ),
        (
            {"url": "http://me:secret@here"},
            (
                "url must hold no user name and no password, which would stand in logs and files; give the server's "
                "token by token_variable."
            ),
        ),
        (
            {"token_variable": "sk-1234"},
            (
                "token_variable must be the name of an environment variable, of letters, digits and _; what came is "
                "not shown, as it may be the token."
            ),
        ),
        ({"url": "ftp://here"}, "url must begin with http:// or https://, got 'ftp://here'."),
        ({"timeout": 0}, "timeout must be above 0, got 0."),
        ({"tries": 0}, "tries must be at least 1, got 0."),
        ({"backoff": -1}, "backoff must be at least 0, got -1."),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))) as caught:
        HttpReward(**{"url": "http://127.0.0.1", **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["url", "timeout", "tries", "backoff", "token_variable"])
def test_what_is_known_to_the_server_alone_is_not_set_in_vain(name: str) -> None:
    reward = HttpReward("http://127.0.0.1", timeout=3, tries=2, backoff=1, token_variable="LAB_TOKEN")
    with pytest.raises(AttributeError, match=f"property '{name}' of 'HttpReward' object has no setter"):
        setattr(reward, name, getattr(HttpReward("http://localhost"), name))
    assert reward.arguments() == {
        "url": "http://127.0.0.1",
        "timeout": 3,
        "tries": 2,
        "backoff": 1,
        "batch_size": 256,
        "token_variable": "LAB_TOKEN",
        "name": None,
    }
    assert pickle.loads(pickle.dumps(reward)) == reward == eval(repr(reward)) == build_reward(reward_to_data(reward))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": None}, "url must be a text, got None."),
        ({"timeout": "60"}, "timeout must be a number, got '60' of type str."),
        ({"tries": 2.5}, "tries must be an integer, got 2.5 of type float."),
        ({"backoff": None}, "backoff must be a number, got None."),
        ({"batch_size": "2"}, "batch_size must be an integer, got '2' of type str."),
        ({"token_variable": None}, "token_variable must be a text, got None."),
    ],
)
def test_settings_of_the_wrong_type_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        HttpReward(**{"url": "http://127.0.0.1", **arguments})
    assert str(caught.value) == message


def test_each_server_may_have_a_token_of_its_own(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGYM_REWARD_TOKEN", "for the first")
    monkeypatch.setenv("LAB_TOKEN", "for the second")
    first, second = serve(lengths), serve(lengths)
    reward: Any = build_reward([first.url, {"http": {"url": second.url, "token_variable": "LAB_TOKEN"}, "weight": 2}])
    assert score(reward, "ab").scores == [6.0]
    assert [first.headers[0]["Authorization"], second.headers[0]["Authorization"]] == [
        "Bearer for the first",
        "Bearer for the second",
    ]
    kept = repr(reward) + str(pickle.dumps(reward)) + str(reward_to_data(reward))
    assert "for the" not in kept
    assert "LAB_TOKEN" in kept
    assert build_reward(reward_to_data(reward)) == reward == pickle.loads(pickle.dumps(reward))


def test_a_token_that_is_missing_or_cannot_be_sent_is_an_error_that_does_not_show_it(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lengths)
    reward = HttpReward(server.url, token_variable="LAB_TOKEN")
    with pytest.raises(RewardError, match="must be in the environment variable LAB_TOKEN, which is not set; "):
        score(reward, "a")
    monkeypatch.setenv("LAB_TOKEN", "secret\n")
    with pytest.raises(RewardError, match="variable LAB_TOKEN must hold a token of printable ASCII") as caught:
        score(reward, "a")
    assert "secret" not in str(caught.value)
    assert not server.requests


@pytest.mark.parametrize(
    "answer",
    [
        answering({"error": "Bearer secret is no good"}, 403),
        answering(b"Bearer secret"),
        answering({"score": "secret"}),
        answering({"scores": "secret"}),
        answering({"scores": [1.0], "terms": "secret"}),
    ],
)
def test_a_token_that_the_server_repeats_is_not_logged(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setenv("TEXTGYM_REWARD_TOKEN", "secret")
    with pytest.raises(RewardError, match=r"\[token\]") as caught:
        score(HttpReward(serve(answer).url), "a")
    assert "secret" not in str(caught.value)


def test_an_async_function_reaches_a_server_through_a_thread(serve: Callable[..., Server]) -> None:
    reward = HttpReward(serve(lengths).url)

    async def by_thread(prompts: list[str], completions: list[str], **columns: Any) -> Any:
        return await asyncio.to_thread(reward, prompts, completions)

    async def at_once(prompts: list[str], completions: list[str], **columns: Any) -> Any:
        return reward(prompts, completions)

    assert score(by_thread, "abc").scores == [3.0]
    with pytest.raises(RewardError, match=r"a reward server as `await asyncio.to_thread\(reward, ...\)`"):
        score(at_once, "abc")


def test_what_is_no_longer_used_closes_its_connections(serve: Callable[..., Server]) -> None:
    reward = HttpReward(serve(lengths).url)
    score(reward, "a")
    client = reward._server.client()
    del reward
    gc.collect()
    wait_for(asyncio.sleep(0))
    assert client.is_closed
