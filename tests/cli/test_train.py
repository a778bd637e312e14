"""A run from the command line: what it prints, what it leaves, and that it repeats and resumes exactly."""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from rich.cells import cell_len
from stable_baselines3.common.save_util import load_from_zip_file
from transformers import AutoModelForCausalLM
from typer.testing import Result

from tests.cli.conftest import run_command
from tests.sameness import assert_same, assert_same_file, assert_same_weights
from textgym.models import load_language_model
from textgym.rewards import LengthWindow
from textgym.training.algorithms import ALGORITHMS
from textgym.training.logs import read_progress


def learned_rows(run: Path) -> list[dict[str, str]]:
    """Return what a run logged of its rollouts and updates; only times differ, and the count of rollouts a session."""
    rows = read_progress(run / "progress.csv")
    differing = ("time/fps", "time/seconds", "time/time_elapsed", "time/iterations")
    return [{key: value for key, value in row.items() if key not in differing} for row in rows]


def weights(run: Path) -> dict[str, torch.Tensor]:
    _, parameters, _ = load_from_zip_file(run / "model.zip", device="cpu")
    return cast(dict[str, torch.Tensor], parameters["policy"])


def assert_equal_runs(run: Path, other: Path) -> None:
    assert_same(learned_rows(run), learned_rows(other))
    assert_same_weights(weights(run), weights(other))
    assert_same_file(run / "samples.jsonl", other / "samples.jsonl")
    figures, expected_figures = (json.loads((one / "evaluation.json").read_text()) for one in (run, other))
    for name in ("before", "after"):
        assert_same(figures[name], expected_figures[name])


def read_samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_leaves_everything_in_its_folder(finished_run: tuple[Path, Result]) -> None:
    run, _ = finished_run
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock",
        "config.yaml",
        "curves.png",
        "evaluation.json",
        "language_model",
        "model.zip",
        "progress.csv",
        "samples.jsonl",
        "tensorboard",
        "tokens.jsonl",
        "versions.json",
    ]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    (session,) = json.loads((run / "versions.json").read_text())
    # What a wheel says of itself may leave out for which CUDA it was built.
    assert session["packages"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]


def test_a_run_ends_with_what_it_reached(finished_run: tuple[Path, Result]) -> None:
    run, result = finished_run
    figures = json.loads((run / "evaluation.json").read_text())
    before, after = figures["before"], figures["after"]
    assert result.output.splitlines()[-1] == (
        f"score {before['score']:.3f} → {after['score']:.3f} on 12 completions of the training prompts · "
        f"KL {after['kl']:.2f} nats per completion · {figures['tokens_per_second']:,.0f} tokens/s"
    )
    # In columns of the screen: what an untrained model writes may hold letters without a width.
    assert {cell_len(line) for line in result.output.splitlines() if line.startswith("│")} == {100}
    # So short a run need not score higher, but its policy has moved.
    assert after["kl"] > 1e-3
    assert before["kl"] == pytest.approx(0, abs=1e-4)
    assert {topic: part["n_completions"] for topic, part in after["topics"].items()} == {"land": 4, "water": 8}


def test_a_run_is_also_judged_greedily_and_by_a_judge_that_it_does_not_learn_from(
    finished_run: tuple[Path, Result],
) -> None:
    run, result = finished_run
    after = json.loads((run / "evaluation.json").read_text())["after"]
    texts = [sample["completion"] for sample in read_samples(run) if sample["phase"] == "after"]
    scores = LengthWindow(2, 8, unit="characters")(prompts=[""] * 12, completions=texts)
    assert after["judge"] == pytest.approx(sum(scores) / 12)
    assert "the judge's score" in result.output
    assert "length_window" not in read_progress(run / "progress.csv")[-1].keys() | after["terms"].keys()
    assert set(after["greedy"]) == {
        "n_completions", "score", "terms", "kl", "perplexity", "n_tokens", "ended_share", "distinct_1", "distinct_2",
        "self_bleu",
    }  # fmt: skip
    assert after["perplexity"] > 1
    # What is certain of its token is further from the first model than what it would have drawn.
    assert after["greedy"]["kl"] > after["kl"]
    assert 0 <= after["self_bleu"] <= 1


def test_a_run_says_how_it_goes_after_each_rollout(finished_run: tuple[Path, Result]) -> None:
    run, result = finished_run
    rows = read_progress(run / "progress.csv")
    lines = [line for line in result.output.splitlines() if " of 250 tokens" in line]
    assert len(lines) == len(rows)
    last = rows[-1]
    assert lines[-1].startswith(f"{last['time/total_timesteps']} of 250 tokens · ")
    assert lines[-1].endswith(
        f" tokens/s · score {float(last['rollout/score']):.3f} "
        f"· few_letters {float(last['rollout/reward/few_letters']):.3f} "
        f"· KL {float(last['rollout/kl']):.3f} · entropy {float(last['rollout/entropy']):.3f}"
    )


def test_samples_are_of_the_same_prompts_before_and_after(finished_run: tuple[Path, Result]) -> None:
    samples = read_samples(finished_run[0])
    prompts = {
        phase: [one["prompt"] for one in samples if one["phase"] == phase] for phase in ("before", "training", "after")
    }
    assert prompts["before"] == prompts["after"] == ["The sea", "A lake", "Hills"] * 4
    assert len(prompts["training"]) >= 2
    assert prompts["training"][:2] == ["The sea", "A lake"]


def test_transformers_runs_the_trained_language_model(finished_run: tuple[Path, Result]) -> None:
    from transformers import pipeline

    folder = finished_run[0] / "language_model"
    generator = pipeline("text-generation", str(folder), device="cpu")
    torch.manual_seed(0)
    (result,) = generator("The sea")
    assert result["generated_text"].startswith("The sea")
    trained = weights(finished_run[0])
    for name, tensor in generator.model.state_dict().items():
        assert torch.equal(tensor, trained[f"language_model.{name}"]), name


def test_tensorboard_has_the_scores(finished_run: tuple[Path, Result]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(finished_run[0] / "tensorboard"))
    events.Reload()
    logged = [event.value for event in events.Scalars("rollout/score")]
    assert logged == pytest.approx([float(row["rollout/score"]) for row in learned_rows(finished_run[0])])


def test_a_run_repeats_from_its_own_config(finished_run: tuple[Path, Result], workplace: Path) -> None:
    run, _ = finished_run
    assert run_command("train", "--config", run / "config.yaml", "--output", "again").exit_code == 0
    assert_equal_runs(workplace / "again", run)
    assert yaml.safe_load((workplace / "again/config.yaml").read_text()) == yaml.safe_load(
        (run / "config.yaml").read_text()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_and_resumed_run_equals_one_that_never_stopped(
    finished_run: tuple[Path, Result], workplace: Path, number: signal.Signals
) -> None:
    # The first calls of the reward are those of the evaluation, sampled and greedy, and the first rollout's.
    (workplace / "interrupt").write_text(f"3 {int(number)}")
    stopped = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert stopped.exit_code == 128 + number
    assert stopped.stderr == "Stopped; run holds what was saved. Go on with: textgym train --resume run\n"
    rows = learned_rows(workplace / "run")
    assert 0 < len(rows) < len(learned_rows(finished_run[0]))
    assert (workplace / "run/curves.png").is_file()
    assert (workplace / "run/language_model/config.json").is_file()

    resumed = run_command("train", "--resume", "run")

    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "run", finished_run[0])
    assert [one["from_tokens"] for one in json.loads((workplace / "run/versions.json").read_text())] == [
        0,
        int(read_progress(workplace / "run/progress.csv")[len(rows) - 1]["time/total_timesteps"]),
    ]


def test_a_reward_that_remembers_its_scores_goes_on_from_them(workplace: Path) -> None:
    """`Whiten`, inside a sum, divides by the spread of all scores so far."""
    settings = yaml.safe_load((workplace / "settings.yaml").read_text())
    settings["task"]["reward"] = [{"whiten": {"reward": "my_rewards:few_letters"}, "weight": 0.5}, "ends_sentence"]
    (workplace / "whitened.yaml").write_text(yaml.safe_dump(settings))
    whole = run_command("train", "--config", "whitened.yaml", "--output", "whole")
    assert whole.exit_code == 0, whole.output
    (workplace / "interrupt").write_text(f"4 {int(signal.SIGTERM)}")
    assert run_command("train", "--config", "whitened.yaml", "--output", "run").exit_code == 128 + signal.SIGTERM
    assert 0 < len(learned_rows(workplace / "run")) < len(learned_rows(workplace / "whole"))
    fewer = run_command("train", "--resume", "run", "--total-tokens", 10)
    assert fewer.exit_code == 2
    assert "tokens already; give --total-tokens above that, or none, to go on as it was begun." in fewer.stderr
    resumed = run_command("train", "--resume", "run")
    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "run", workplace / "whole")


def test_a_run_stopped_in_its_first_evaluation_begins_anew(finished_run: tuple[Path, Result], workplace: Path) -> None:
    (workplace / "interrupt").write_text(f"1 {int(signal.SIGTERM)}")
    stopped = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert stopped.stderr == "Stopped; run holds what was saved. Go on with: textgym train --resume run\n"
    assert run_command("train", "--resume", "run").exit_code == 0
    assert_equal_runs(workplace / "run", finished_run[0])


def test_what_was_logged_after_the_last_checkpoint_is_made_again_and_not_twice(
    finished_run: tuple[Path, Result], workplace: Path
) -> None:
    # Two calls in the first evaluation, sampled and greedy, and then one a rollout.
    (workplace / "fail").write_text("5 0")
    arguments = ("--config", "settings.yaml", "--output", "run", "--checkpoint-seconds", "1000")
    failed = run_command("train", *arguments)
    assert failed.exit_code == 2
    assert failed.stderr.startswith("Traceback (most recent call last):")
    assert "Error: Reward 'few_letters' raised KeyError ('no judgement today') on " in failed.stderr
    assert failed.stderr.endswith("\nOnce it is mended: textgym train --resume run\n")
    assert len(learned_rows(workplace / "run")) == 2

    assert run_command("train", "--resume", "run").exit_code == 0
    assert_equal_runs(workplace / "run", finished_run[0])


def test_a_reward_server_that_is_gone_is_said_once_without_a_traceback(workplace: Path) -> None:
    """What a server lacks is no fault of the user's code, which a traceback would help to find."""
    pytest.importorskip("httpx2", reason="needs the extra http")
    settings = yaml.safe_load((workplace / "settings.yaml").read_text())
    settings["task"]["reward"] = [{"http": {"url": "http://127.0.0.1:1", "tries": 1}}, "my_rewards:few_letters"]
    (workplace / "settings.yaml").write_text(yaml.safe_dump(settings))
    failed = run_command("train", "--config", "settings.yaml", "--output", "run")
    assert failed.exit_code == 2
    assert re.fullmatch(
        r"Error: The reward server http://127\.0\.0\.1:1 was tried once and failed, last by ConnectError \(.*\); the "
        r"batch's first completion is:\n  prompt: 'The sea'\n  completion: .*\n"
        r"Once it is mended: textgym train --resume run\n",
        failed.stderr,
    )


def test_a_killed_and_resumed_run_equals_one_that_was_never_killed(workplace: Path) -> None:
    """With everything on that has a memory: replayed episodes, shaping, a KL coefficient that adapts."""
    settings = yaml.safe_load((workplace / "settings.yaml").read_text())
    settings["algorithm"] |= {"potential_shaping": True, "self_imitation": 0.5, "kl_target": 0.5, "kl_horizon": 20}
    (workplace / "settings.yaml").write_text(yaml.safe_dump(settings))
    assert run_command("train", "--config", "settings.yaml", "--output", "whole").exit_code == 0
    # In the third rollout; with shaping the reward is called twice a rollout.
    (workplace / "interrupt").write_text(f"7 {int(signal.SIGKILL)}")
    command = [sys.executable, "-m", "textgym.cli", "train", "--config", "settings.yaml", "--output", "killed"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = learned_rows(workplace / "killed")
    assert 2 <= len(rows) < len(learned_rows(workplace / "whole"))
    for name in ("progress.csv", "samples.jsonl"):
        with (workplace / "killed" / name).open("a", encoding="utf-8") as file:
            file.write('{"half a line')

    resumed = run_command("train", "--resume", "killed")

    assert resumed.exit_code == 0, resumed.output
    assert_equal_runs(workplace / "killed", workplace / "whole")
    assert learned_rows(workplace / "killed")[1 : len(rows)] == rows[1:]
    assert float(rows[-1]["rollout/kl_coef"]) != 0.02


def test_a_loss_that_becomes_nan_stops_the_run_and_names_the_last_good_checkpoint(workplace: Path) -> None:
    result = run_command("train", "--config", "settings.yaml", "--output", "run", "--learning-rate", "1e30")
    assert result.exit_code == 2
    assert re.fullmatch(
        r"Error: Training has stopped at step \d+, after \d updates: the (policy's values|weight .*) became NaN or "
        r"infinite. The last good checkpoint is run/model.zip; go on from there with smaller steps, such "
        r"as by a lower learning_rate.\nFor example: textgym train --resume run --learning-rate 1e\+29\n",
        result.stderr,
    )
    assert all(tensor.isfinite().all() for tensor in weights(workplace / "run").values())
    resumed = run_command("train", "--resume", "run", "--learning-rate", "1e-2", "--max-grad-norm", 0.4)
    assert resumed.exit_code == 0, resumed.output
    assert float(read_progress(workplace / "run/progress.csv")[-1]["train/learning_rate"]) == 1e-2
    config = yaml.safe_load((workplace / "run/config.yaml").read_text())["algorithm"]
    assert (config["learning_rate"], config["max_grad_norm"]) == (1e-2, 0.4)
    assert all(tensor.isfinite().all() for tensor in weights(workplace / "run").values())


def test_a_checkpoint_of_another_algorithm_is_one_line(finished_run: tuple[Path, Result], workplace: Path) -> None:
    """A2C would take everything in it for its own."""
    shutil.copytree(finished_run[0], workplace / "run")
    config = workplace / "run/config.yaml"
    settings = yaml.safe_load(config.read_text())
    known = {declared.name for declared in fields(ALGORITHMS["A2C"])}
    settings["algorithm"] = {key: value for key, value in settings["algorithm"].items() if key in known}
    settings["algorithm"]["name"] = "A2C"
    config.write_text(yaml.safe_dump(settings))
    result = run_command("train", "--resume", "run", "--steps", 1000)
    assert result.exit_code == 2
    assert result.stderr == "Error: run/model.zip was saved by PPO; load it by PPO.load.\n"


def test_a_checkpoint_that_was_cut_off_is_one_line(finished_run: tuple[Path, Result], workplace: Path) -> None:
    shutil.copytree(finished_run[0], workplace / "run")
    checkpoint = workplace / "run/model.zip"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    result = run_command("train", "--resume", "run", "--steps", 1000)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: run/model.zip is damaged or no checkpoint at all; expected the whole .zip file that PPO.save writes.\n"
    )


def test_a_complete_run_that_has_lost_its_checkpoint_is_not_begun_again(
    finished_run: tuple[Path, Result], workplace: Path
) -> None:
    shutil.copytree(finished_run[0], workplace / "run")
    (workplace / "run/model.zip").unlink()
    progress = (workplace / "run/progress.csv").read_text()
    result = run_command("train", "--resume", "run", "--steps", 1000)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: The run in run is complete, but its model.zip is gone; put it back to train further, or begin a run in "
        "another folder.\n"
    )
    assert (workplace / "run/progress.csv").read_text() == progress


def test_an_adapter_is_trained_and_left_merged(workplace: Path) -> None:
    """What lies in the run's folder is a plain language model, and no longer the one that training began with."""
    pytest.importorskip("peft")
    arguments = ("train", "--config", "settings.yaml", "--output", "run", "--lora-rank", 2, "--micro-batch-size", 16)
    result = run_command(*arguments, "--steps", 130)
    assert result.exit_code == 0, result.output
    assert not (workplace / "run/language_model/adapter_config.json").exists()
    trained = AutoModelForCausalLM.from_pretrained(workplace / "run/language_model").state_dict()
    before = AutoModelForCausalLM.from_pretrained(
        yaml.safe_load((workplace / "settings.yaml").read_text())["model"]
    ).state_dict()
    assert trained.keys() == before.keys()
    moved = {name for name, tensor in trained.items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all("c_attn" in name or "c_proj" in name or "c_fc" in name for name in moved)
    assert run_command("train", "--resume", "run", "--steps", 200).exit_code == 0


def test_the_model_that_is_left_has_its_share_of_the_initial_weights_and_training_goes_on_from_all_its_own(
    workplace: Path,
) -> None:
    arguments = ("train", "--config", "settings.yaml", "--initial-share")
    assert run_command(*arguments, 0.25, "--output", "run", "--steps", 130).exit_code == 0
    assert run_command(*arguments, 0, "--output", "plain", "--steps", 130).exit_code == 0
    initial = load_language_model(yaml.safe_load((workplace / "settings.yaml").read_text())["model"]).state_dict()
    written, trained = (
        load_language_model(workplace / run / "language_model").state_dict() for run in ("run", "plain")
    )
    assert not torch.equal(trained["transformer.wte.weight"], initial["transformer.wte.weight"])
    for name, tensor in written.items():
        torch.testing.assert_close(tensor, 0.75 * trained[name] + 0.25 * initial[name])
    assert_same_weights(weights(workplace / "run"), weights(workplace / "plain"))
    evaluations = [json.loads((workplace / run / "evaluation.json").read_text())["after"] for run in ("run", "plain")]
    assert 0 < evaluations[0]["kl"] < evaluations[1]["kl"]
    assert run_command("train", "--resume", "run", "--steps", 250).exit_code == 0
    assert run_command(*arguments, 0.25, "--output", "whole", "--steps", 250).exit_code == 0
    assert_equal_runs(workplace / "run", workplace / "whole")


def test_an_adapters_effect_is_scaled_by_what_is_not_the_initial_share(workplace: Path) -> None:
    pytest.importorskip("peft")
    arguments = ("train", "--config", "settings.yaml", "--lora-rank", 2, "--steps", 130, "--initial-share")
    assert run_command(*arguments, 0.25, "--output", "run").exit_code == 0
    assert run_command(*arguments, 0, "--output", "plain").exit_code == 0
    initial = load_language_model(yaml.safe_load((workplace / "settings.yaml").read_text())["model"]).state_dict()
    written, trained = (
        load_language_model(workplace / run / "language_model").state_dict() for run in ("run", "plain")
    )
    for name, tensor in written.items():
        torch.testing.assert_close(tensor, 0.75 * trained[name] + 0.25 * initial[name])


def test_a_finished_run_can_be_trained_further(workplace: Path) -> None:
    assert run_command("train", "--config", "settings.yaml", "--output", "run", "--steps", 100).exit_code == 0
    rows = learned_rows(workplace / "run")
    assert run_command("train", "--resume", "run", "--steps", 200).exit_code == 0
    assert learned_rows(workplace / "run")[: len(rows)] == rows
    assert len(learned_rows(workplace / "run")) > len(rows)
    samples = read_samples(workplace / "run")
    assert [one["phase"] for one in samples].count("after") == 12


def test_an_algorithm_a_reward_and_prompts_may_be_given_as_options(workplace: Path, tiny_model: Path) -> None:
    (workplace / "mine.txt").write_text("One\nTwo\n", encoding="utf-8")
    result = run_command(
        "train", "--algo", "PPO", "--model", tiny_model, "--prompts", "mine.txt", "--reward", "my_rewards:few_letters",
        "--max-new-tokens", 8, "--total-tokens", 20, "--tokens-per-rollout", 16, "--eval-completions", 2, "-o", "run",
        "--stop", "x", "--stop", "y",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = yaml.safe_load((workplace / "run/config.yaml").read_text())
    assert config["task"]["stop"] == ["x", "y"]
    assert config["task"]["prompts"] == str(workplace / "mine.txt")
