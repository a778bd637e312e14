"""The whole loop from the command line: what each step leaves, and that a killed loop equals one that never was."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from typer.testing import Result

from tests.cli.conftest import run_command
from tests.rlhf.conftest import SETTINGS, write_config
from tests.sameness import assert_same_file, assert_same_weights
from textgym.rewards.learned import EnsembleRewardModel, load_reward_model
from textgym.training.run_folder import read_json, read_json_lines

OUTPUTS = ("completions.jsonl", "feedback.jsonl", "judgement.json", "evaluation.json")
# Runs `textgym rlhf` until a file or folder with the end that is given would take its place: then it is killed.
KILLER = """
import os, signal, sys
from pathlib import Path
def killing(put):
    def put_or_die(self, target):
        if str(target).endswith(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, target)
    return put_or_die
Path.replace, Path.rename = killing(Path.replace), killing(Path.rename)
from textgym.cli import app
app(["rlhf", "loop.yaml"])
"""


def assert_equal_loops(loop: Path, other: Path) -> None:
    for number in (1, 2):
        for name in OUTPUTS:
            assert_same_file(loop / f"round-{number}" / name, other / f"round-{number}" / name)
        assert_same_weights(
            *(load_file(one / f"round-{number}/run/language_model/model.safetensors") for one in (loop, other))
        )
    assert_same_file(loop / "results.json", other / "results.json")


def kill_at(place: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLER, place], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def test_each_round_leaves_its_steps_outputs(finished_loop: tuple[Path, Result]) -> None:
    loop, _ = finished_loop
    for number in (1, 2):
        one = loop / f"round-{number}"
        completions, feedback = read_json_lines(one / "completions.jsonl"), read_json_lines(one / "feedback.jsonl")
        asked = {(row["prompt"], row["completion"]) for row in completions if row["is_asked"]}
        assert {(row["prompt"], row["completion"]) for row in feedback} == asked
        assert {row["rater"] for row in feedback} == {"rater 1", "rater 2"}
        assert isinstance(load_reward_model(one / "reward_model"), EnsembleRewardModel)
        assert read_json(one / "evaluation.json")["after"]["tokens"] >= SETTINGS["training"]["total_tokens"]
    assert len(read_json_lines(loop / "round-1/completions.jsonl")) == SETTINGS["feedback"]["candidates"]
    second = read_json_lines(loop / "round-2/completions.jsonl")
    assert len(second) == SETTINGS["feedback"]["candidates"]
    least = min(row["disagreement"] for row in second if row["is_asked"])
    assert all(row["disagreement"] <= least for row in second if not row["is_asked"])


def test_the_reward_model_learns_from_all_rounds_and_is_judged_before(finished_loop: tuple[Path, Result]) -> None:
    loop, _ = finished_loop
    n_completions = [len(read_json_lines(loop / f"round-{number}/feedback.jsonl")) // 2 for number in (1, 2)]
    first, second = (load_reward_model(loop / f"round-{number}/reward_model") for number in (1, 2))
    assert (first.record["n_ratings"], second.record["n_ratings"]) == (n_completions[0], sum(n_completions))
    feedback = read_json_lines(loop / "round-2/feedback.jsonl")
    judgements = [read_json(loop / f"round-{number}/judgement.json") for number in (1, 2)]
    assert judgements[0]["model"] is None
    texts = list(dict.fromkeys((row["prompt"], row["completion"]) for row in feedback))
    scores = first.score(*(list(column) for column in zip(*texts, strict=True)))
    means = [sum(row["rating"] for row in feedback if row["completion"] == text) / 2 for _, text in texts]
    expected = torch.corrcoef(torch.tensor([scores, means], dtype=torch.float64))[0, 1].item()
    assert judgements[1]["model"]["pearson"] == pytest.approx(expected)


def test_true_scores_are_the_annotators_and_kl_is_to_the_first_model(finished_loop: tuple[Path, Result]) -> None:
    loop, _ = finished_loop
    first, second = (read_json(loop / f"round-{number}/evaluation.json") for number in (1, 2))
    assert first["before"]["kl"] == pytest.approx(0, abs=1e-5)
    # The second round begins with the first one's policy, and measures against the same model.
    assert abs(second["before"]["kl"]) > 1e-3
    assert second["before"]["kl"] == pytest.approx(first["after"]["kl"], abs=1e-4)
    assert second["before"]["true_score"] == pytest.approx(first["after"]["true_score"])
    true_scores = [1 - len(one["completion"]) / 16 for one in second["samples"]["after"]]
    assert [one["true_score"] for one in second["samples"]["after"]] == pytest.approx(true_scores)
    assert second["after"]["true_score"] == pytest.approx(sum(true_scores) / len(true_scores))


def test_the_page_shows_every_round_and_texts_as_text(finished_loop: tuple[Path, Result]) -> None:
    loop, _ = finished_loop
    page = (loop / "report.html").read_text(encoding="utf-8")
    assert "<h1>2 of 2 rounds of feedback</h1>" in page
    assert "What was asked in round 2" in page
    assert "data:image/svg+xml" in page
    assert 'src="http' not in page
    results = read_json(loop / "results.json")
    assert [one["round"] for one in results["rounds"]] == [1, 2]


def test_a_loop_that_is_killed_in_training_goes_on_there(workplace: Path, finished_loop: tuple[Path, Result]) -> None:
    """In the second round, when its first checkpoint is all written but not yet in its place."""
    kill_at("round-2/run/model.zip")
    assert not (workplace / "loop/round-2/training.json").exists()
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    assert "Round 1" not in result.output
    assert "Round 2: fine-tuning" in result.output
    assert_equal_loops(workplace / "loop", finished_loop[0])


@pytest.mark.slow
def test_a_loop_that_is_killed_at_every_step_equals_one_that_was_never_killed(
    workplace: Path, finished_loop: tuple[Path, Result]
) -> None:
    for number in (1, 2):
        for name in ("completions.jsonl", "feedback.jsonl", "judgement.json", "reward_model", "run/curves.png",
                     "training.json", "evaluation.json"):  # fmt: skip
            kill_at(f"round-{number}/{name}")
    kill_at("loop/report.html")
    assert run_command("rlhf", "loop.yaml").exit_code == 0
    assert_equal_loops(workplace / "loop", finished_loop[0])


def test_two_processes_do_not_work_in_one_folder(workplace: Path, tiny_model: Path) -> None:
    write_config(workplace, tiny_model, annotators={"people": {"per_item": 1}})
    assert run_command("rlhf", "loop.yaml").exit_code == 3
    with FileLock(workplace / "loop/.lock"):
        refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "loop is being worked on by another 'textgym rlhf loop.yaml'; wait, or end it." in refused.stderr
    assert run_command("rlhf", "loop.yaml").exit_code == 3


def test_a_finished_loop_is_left_alone_and_may_get_more_rounds(
    workplace: Path, tiny_model: Path, finished_loop: tuple[Path, Result]
) -> None:
    changes: dict[str, Any] = {"output": str(finished_loop[0])}
    write_config(workplace, tiny_model, **changes)
    before = {path: path.stat().st_mtime_ns for path in finished_loop[0].glob("round-*/**/*")}
    result = run_command("rlhf", "loop.yaml")
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in finished_loop[0].glob("round-*/**/*")} == before
    write_config(workplace, tiny_model, **changes, seed=2)
    refused = run_command("rlhf", "loop.yaml")
    assert refused.exit_code == 2
    assert "was begun with other settings (seed: see " in refused.stderr


def test_a_warm_start_learns_the_demonstrations_first(workplace: Path, tiny_model: Path) -> None:
    rows = [{"prompt": prompt, "completion": " yes"} for prompt in ("The sea", "A lake", "Hills")]
    (workplace / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    warm_start = {"data": "demonstrations.jsonl", "epochs": 60, "learning_rate": 3e-2, "held_out": 0}
    training = {**SETTINGS["training"], "total_tokens": 16}
    write_config(workplace, tiny_model, warm_start=warm_start, rounds=1, training=training, feedback={"completions": 4},
                 prompts=["The sea", "A lake", "Hills", "sand", "A tree"])  # fmt: skip
    result = run_command("rlhf", "loop.yaml")
    assert "Warm start: learning the demonstrations" in result.output
    written = "".join(row["completion"] for row in read_json_lines(workplace / "loop/round-1/completions.jsonl"))
    # Of an untrained model's letters hardly any; which of them, and in what order, differs between processors.
    assert sum(letter in " yes" for letter in written) >= 0.75 * len(written)
    assert result.exit_code == 0, result.output
    evaluation = read_json(workplace / "loop/round-1/evaluation.json")
    assert evaluation["before"]["kl"] == pytest.approx(0, abs=1e-5)
