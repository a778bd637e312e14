"""`textgym generate`: the same text for the same seed, by a run's own rules."""

from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from tests.cli.conftest import run_command
from textgym.training.algorithms import NLPOSettings
from textgym.training.settings import TaskSettings, TrainSettings
from textgym.training.writing import write_completions


def test_generate_prints_prompts_with_their_completions(finished_run: tuple[Path, Result]) -> None:
    run, _ = finished_run
    settings = yaml.safe_load((run / "config.yaml").read_text())
    expected = write_completions(
        str(run), ["The sea", "Hills"], TrainSettings(task=TaskSettings(max_new_tokens=16)), n=2, seed=3
    )
    result = run_command("generate", run, "--prompt", "The sea", "-p", "Hills", "--n", 2, "--seed", 3)
    assert result.exit_code == 0
    assert settings["task"]["max_new_tokens"] == 16
    assert result.stdout == "\n\n".join(prompt + completion for prompt, completion in expected) + "\n"


def test_a_model_folder_writes_as_well(tiny_model: Path) -> None:
    result = run_command("generate", tiny_model, "--prompt", "Hi", "--max-new-tokens", 5, "--greedy")
    assert result.exit_code == 0
    assert result.stdout.startswith("Hi")


def test_greedy_text_does_not_depend_on_the_seed(tiny_model: Path) -> None:
    texts = {
        write_completions(str(tiny_model), ["Hi"], TrainSettings(), max_new_tokens=8, greedy=True, seed=seed)[0]
        for seed in range(3)
    }
    sampled = {
        write_completions(str(tiny_model), ["Hi"], TrainSettings(), max_new_tokens=8, seed=seed)[0] for seed in range(3)
    }
    assert len(texts) == 1
    assert len(sampled) == 3


def test_top_k_of_one_is_greedy(tiny_model: Path) -> None:
    greedy = write_completions(str(tiny_model), ["Hi"], TrainSettings(), max_new_tokens=8, greedy=True)
    assert write_completions(str(tiny_model), ["Hi"], TrainSettings(), max_new_tokens=8, top_k=1, seed=5) == greedy


def test_a_runs_rules_hold_for_its_model(tiny_model: Path) -> None:
    settings = TrainSettings(task=TaskSettings(max_new_tokens=6, allowed_token_ids=(10, 11)))
    ((_, completion),) = write_completions(str(tiny_model), ["Hi"], settings)
    assert len(completion) == 6
    assert len(set(completion)) <= 2


def test_what_nlpo_has_trained_writes_among_the_tokens_of_training(tiny_model: Path) -> None:
    def written(settings: TrainSettings, **how: float) -> list[tuple[str, str]]:
        return write_completions(str(tiny_model), ["Hi"], settings, n=3, max_new_tokens=8, **how)  # type: ignore[arg-type]

    settings = TrainSettings(algorithm=NLPOSettings(top_p=0.02))
    assert written(settings) == written(TrainSettings(), top_p=0.02) != written(TrainSettings())
    assert written(settings, top_p=1.0) == written(TrainSettings())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--temperature", "0"),
            "temperature must be above 0, got 0.0; for greedy text use deterministic=True, or --greedy.",
        ),
        (("--top-p", "2"), "top_p must be above 0 and at most 1, got 2.0."),
        (
            ("--max-new-tokens", "64"),
            "A prompt of 2 tokens and 64 new ones are beyond the 64 that the model reads; lower max_new_tokens.",
        ),
    ],
)
def test_bad_sampling_gets_one_line(tiny_model: Path, options: tuple[str, ...], line: str) -> None:
    arguments = ("generate", tiny_model, "--prompt", "Hi", "--max-new-tokens", "4", *options)
    result = run_command(*arguments)
    assert (result.exit_code, result.stderr) == (2, f"Error: {line}\n")


def test_an_empty_prompt_gets_one_line(tiny_model: Path) -> None:
    result = run_command("generate", tiny_model, "--prompt", "")
    assert (result.exit_code, result.stderr) == (2, "Error: the prompt in item 1 of prompts is empty: ''.\n")


def test_a_prompt_beyond_the_vocabulary_gets_one_line() -> None:
    result = run_command("generate", "symbols:abc>", "--prompt", "axb")
    message = "The tokenizer cannot encode the prompts (its vocabulary has no 'x'); use its vocabulary alone"
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}, or another tokenizer.\n")
