"""The reward server, in a process of its own, and what it refuses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from textgym.reward_protocol import RewardError, score_completions
from textgym.rewards import BannedWords, Clip, HttpReward, Keywords

httpx2 = pytest.importorskip("httpx2", reason="needs the extra http")
pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

TOKEN = "open sesame"
REWARDS = """
from textgym.rewards import BannedWords, Keywords


def tokens(completion_ids, answer, **columns):
    return [None if one is None else [float(token) for token in ids] for ids, one in zip(completion_ids, answer)]


def fails(completions, **columns):
    raise KeyError("no judgement today")


def fails_at_half_a_pair(completions, **columns):
    raise ValueError("sea \\ud800")


words = 2 * Keywords(["sea", "海"]) - BannedWords(["war"])
"""


def serve(folder: Path, spec: str, token_variable: str = "TEXTGYM_REWARD_TOKEN") -> Iterator[str]:
    (folder / "served_rewards.py").write_text(REWARDS, encoding="utf-8")
    command = [sys.executable, "-m", "textgym.cli", "serve-reward", spec, "--port", "0", "--max-megabytes", "0.01"]
    command += ["--token-variable", token_variable]
    environment = {**os.environ, token_variable: TOKEN}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        try:
            assert lines[1].startswith("Serving at http://127.0.0.1:"), lines
            yield lines[1].split()[2].rstrip(";")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("served"), "served_rewards:words")


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGYM_REWARD_TOKEN", TOKEN)


def post(url: str, data: Any, token: str = TOKEN) -> Any:
    return httpx2.post(url, headers={"Authorization": f"Bearer {token}"}, **data)


@pytest.mark.usefixtures("with_token")
def test_a_served_reward_gives_what_it_gives_here(words: str) -> None:
    here = 2 * Keywords(["sea", "海"]) - BannedWords(["war"])
    completions = [" sea", " war", " 海 sea", ""]
    there, expected = (
        score_completions(reward, ["The"] * 4, completions, {}, [[1]] * 4) for reward in (HttpReward(words), here)
    )
    assert there == expected


@pytest.mark.parametrize(
    ("data", "status", "problem"),
    [
        ({"content": b"{"}, 400, "The request is not JSON"),
        ({"json": [1]}, 400, 'The request must be {"prompts": [...], "completions": [...]}'),
        ({"json": {"prompts": ["a"], "completions": [3]}}, 400, "The request must be"),
        ({"json": {"prompts": ["a"], "completions": []}}, 400, "completions must have one entry per prompt"),
        ({"json": {"prompts": ["a"], "completions": ["b"], "columns": [1]}}, 400, '"columns" must be an object'),
        (
            {"json": {"prompts": ["a"], "completions": ["b"], "columns": {"c": []}}},
            400,
            "c must have one entry per prompt, got 0 for 1 prompts.",
        ),
        (
            {"content": b"x" * 20_000},
            413,
            "The request must have at most 10000 bytes; send fewer completions at a time.",
        ),
        ({"content": iter([b"x" * 6_000] * 3)}, 413, "The request must have at most 10000 bytes"),
    ],
)
def test_a_request_that_is_no_batch_is_refused(words: str, data: Any, status: int, problem: str) -> None:
    response = post(words, data)
    assert response.status_code == status
    assert response.json()["error"].startswith(problem)


@pytest.mark.parametrize("token", ["", "open", "öffne dich"])
def test_a_request_without_the_token_is_refused(words: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
    response = httpx2.post(words, json={"prompts": ["a"], "completions": ["b"]}, headers=headers)
    assert response.status_code == 401
    assert TOKEN not in response.text


def test_an_empty_batch_and_the_health_check_are_answered(words: str) -> None:
    empty = post(words, {"json": {"prompts": [], "completions": []}})
    assert empty.json() == {"scores": [], "terms": {}, "token_rewards": []}
    assert httpx2.get(f"{words}/health").json() == {"status": "ok"}


@pytest.mark.usefixtures("with_token")
def test_token_rewards_nulls_and_columns_go_through(tmp_path: Path) -> None:
    for url in serve(tmp_path, "{named: {function: 'served_rewards:tokens', name: paid}}"):
        result = score_completions(HttpReward(url), ["a", "b"], ["c", "d"], {"answer": ["x", None]}, [[1, 2], [3]])
        assert result.token_rewards == [[1.0, 2.0], None]
        assert result.terms == {"paid": [3.0, None]}


@pytest.mark.usefixtures("with_token")
def test_a_constant_goes_through_where_no_term_applies(tmp_path: Path) -> None:
    columns = {"answer": ["x", None]}
    for url in serve(tmp_path, "[{named: {function: 'served_rewards:tokens', name: paid}}, {constant: 5}]"):
        there = HttpReward(url)
        assert score_completions(there, ["a", "b"], ["c", "d"], columns, [[1, 2], [3]]).scores == [8.0, 5.0]
        asked: dict[str, Any] = {
            "prompts": ["a", "b"],
            "completions": ["c", "d"],
            "completion_ids": [[1, 2], [3]],
            **columns,
        }
        assert Clip(there, 0, 4).evaluate(**asked).scores == [4.0, 4.0]
        assert there(**asked)[1] == 5.0
        assert (there - 5)(**asked)[1] == 0.0
        assert Clip(there, -1, 0)(**asked)[1] == 0.0


@pytest.mark.usefixtures("with_token")
def test_a_reward_that_fails_there_fails_here_at_once(tmp_path: Path) -> None:
    for url in serve(tmp_path, "served_rewards:fails"):
        with pytest.raises(RewardError, match=r"with status 422: \"Reward 'fails' raised KeyError"):
            score_completions(HttpReward(url), ["a"], ["b"], {}, [[1]])


@pytest.mark.usefixtures("with_token")
def test_half_of_a_surrogate_pair_goes_through(tmp_path: Path) -> None:
    """UTF-8 cannot hold it, and a tokenizer may leave it in a text."""
    for url in serve(tmp_path, "served_rewards:fails_at_half_a_pair"):
        with pytest.raises(RewardError, match=r"with status 422: .*raised ValueError \(sea \\ud800\) on completion 1"):
            score_completions(HttpReward(url), ["a"], ["b"], {}, [[1]])
    for url in serve(tmp_path, '{keywords: {words: [sea], name: "sea \\ud800"}}'):
        result = score_completions(HttpReward(url), ["a"], ["sea"], {}, [[1]])
        assert result.terms == {"sea \ud800": [1.0]}


def test_a_server_may_have_a_token_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGYM_REWARD_TOKEN", "another server's")
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    for url in serve(tmp_path, "served_rewards:words", "LAB_TOKEN"):
        assert HttpReward(url, token_variable="LAB_TOKEN")(["The"], [" sea"]) == [1.0]
        with pytest.raises(RewardError, match="set the environment variable TEXTGYM_REWARD_TOKEN to it"):
            HttpReward(url)(["The"], [" sea"])
