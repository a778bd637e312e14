"""Serve any reward by HTTP, for `HttpReward` and programs in any language; importing this needs the extra `serve`."""

import asyncio
import hmac
import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from textgym.reward_protocol import Reward, RewardError, RewardResult, evaluate_reward, reward_arguments

MAX_BYTES = 16 * 1024 * 1024
_REQUIRED = ("prompts", "completions")


def make_app(reward: Reward, token: str, max_bytes: int = MAX_BYTES) -> FastAPI:
    """Make a FastAPI application whose POST / is what `HttpReward` asks for.

    Batches are scored one after the other, since a reward need not be made for threads. GET /health answers without a
    token. What goes wrong with a batch is answered with status 400 (no batch), 401 (token), 413 (too large) or 422 (the
    reward failed), and the problem in words.

    Args:
        reward: What to serve.
        token: What a request has to carry, as `Authorization: Bearer TOKEN`.
        max_bytes: Largest request, at least 1.

    Raises:
        ValueError: If the token is empty, or `max_bytes` is below 1.
    """
    if not token:
        raise ValueError("A reward server needs a token, got an empty one.")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, got {max_bytes}.")
    app = FastAPI(title="TextGym reward", openapi_url=None)
    turn = asyncio.Lock()

    @app.post("/")
    async def score(request: Request) -> JSONResponse:
        try:
            _check_token(request.headers.get("authorization", ""), token)
            batch = _read_batch(await _read_body(request, max_bytes))
            async with turn:
                result = await asyncio.to_thread(_score, reward, batch)
        except _RefusalError as refusal:
            return _EscapedResponse({"error": str(refusal)}, refusal.status)
        return _EscapedResponse(_to_data(result))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


class _EscapedResponse(JSONResponse):
    """JSON in ASCII: half of a surrogate pair, as a reward may quote it from a completion, cannot be sent as UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


class _RefusalError(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def _check_token(header: str, token: str) -> None:
    if not hmac.compare_digest(header.encode(), f"Bearer {token}".encode()):
        raise _RefusalError(
            401, "The request must carry the header Authorization: Bearer TOKEN with this server's token."
        )


async def _read_body(request: Request, max_bytes: int) -> bytes:
    """Read a request, and no more of it than is allowed."""
    problem = f"The request must have at most {max_bytes} bytes; send fewer completions at a time."
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _RefusalError(413, problem)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _RefusalError(413, problem)
    return bytes(body)


def _read_batch(body: bytes) -> dict[str, Any]:
    try:
        batch = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _RefusalError(400, f"The request is not JSON: {error}.") from error
    if not isinstance(batch, dict) or any(not _is_texts(batch.get(key)) for key in _REQUIRED):
        raise _RefusalError(
            400, 'The request must be {"prompts": [...], "completions": [...]}, with a text in each place.'
        )
    columns = batch.get("columns") or {}
    if not isinstance(columns, Mapping) or not all(isinstance(column, list) for column in columns.values()):
        raise _RefusalError(400, '"columns" must be an object with a list of the batch\'s length for each name.')
    ids = batch.get("completion_ids")
    if ids is not None and not (isinstance(ids, list) and all(map(_is_numbers, ids))):
        raise _RefusalError(400, '"completion_ids" must be a list with a list of token numbers in each place.')
    return batch


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int for number in value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _score(reward: Reward, batch: Mapping[str, Any]) -> RewardResult:
    prompts, completions = batch["prompts"], batch["completions"]
    ids = batch.get("completion_ids")
    try:
        columns = reward_arguments(prompts, completions, batch.get("columns") or {}, ids or [[] for _ in prompts])
    except (TypeError, ValueError) as error:
        raise _RefusalError(400, str(error)) from error
    if ids is None:
        del columns["completion_ids"]
    if not prompts:
        return RewardResult([], {}, [])
    try:
        return evaluate_reward(reward, prompts, completions, columns)
    except RewardError as error:
        raise _RefusalError(422, str(error)) from error


def _to_data(result: RewardResult) -> dict[str, Any]:
    scores = [
        score if not result.terms or result.applies_to(index) else None for index, score in enumerate(result.scores)
    ]
    return {"scores": scores, "terms": result.terms, "token_rewards": result.token_rewards}
