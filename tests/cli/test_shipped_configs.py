"""Settings that ship with the package: what they say, and that they train, with tiny models for the hub's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

from tests.agents.tiny import exactly
from tests.cli.conftest import run_command
from tests.fakes import EOS_TOKEN_ID, VOCAB_SIZE, byte_tokenizer
from textgym.benchmarks.imdb import imdb_prompts
from textgym.prompts import load_prompts
from textgym.rlhf.settings import read_loop_settings
from textgym.training.algorithms import PPOSettings
from textgym.training.logs import read_progress
from textgym.training.settings_file import read_settings
from textgym.training.shipped_configs import LOOPS, config_names, find_config


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a language model and a classifier of two labels, both GPT-2s of random weights over bytes."""
    config: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128,
        "bos_token_id": EOS_TOKEN_ID, "eos_token_id": EOS_TOKEN_ID, "pad_token_id": EOS_TOKEN_ID,
    }  # fmt: skip
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(**config)).save_pretrained(tmp_path / "writer")
    GPT2ForSequenceClassification(GPT2Config(**config)).save_pretrained(tmp_path / "judge")
    for name in ("writer", "judge"):
        byte_tokenizer().save_pretrained(tmp_path / name)
    return tmp_path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A folder of reviews as the data set has them, one of them shorter than a prompt."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    for split in ("train", "test"):
        rows = [{"text": f"{split} {number}: a film " * (1 + number), "label": 0} for number in range(12)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_rl4lms_settings_are_those_of_the_paper() -> None:
    settings = read_settings(find_config(Path("rl4lms-imdb")), {})
    algorithm = settings.algorithm
    assert isinstance(algorithm, PPOSettings)
    assert algorithm.tokens_per_rollout == 10 * 128
    assert settings.total_tokens == 50 * algorithm.tokens_per_rollout
    assert (algorithm.learning_rate, algorithm.learning_rate_end, algorithm.n_epochs) == (1e-6, 1.0, 5)
    assert (algorithm.kl_coef, algorithm.kl_target) == (0.1, None)
    assert (settings.task.max_prompt_tokens, settings.task.max_new_tokens) == (64, 48)


def test_prompts_are_the_first_tokens_of_reviews_in_an_order_of_their_own(models: Path, reviews: Path) -> None:
    pytest.importorskip("datasets", reason="the datasets library is not installed")
    prompts = imdb_prompts("train", str(models / "writer"), source=str(reviews))
    assert len(prompts) == 12
    assert all(prompt.startswith("train ") for prompt in prompts)
    assert sorted({len(prompt) for prompt in prompts})[-1] == 64
    assert prompts != sorted(prompts)
    assert imdb_prompts("test", str(models / "writer"), size=3, source=str(reviews))[0].startswith("test ")


@pytest.mark.slow
def test_rl4lms_settings_train(models: Path, reviews: Path) -> None:
    """One rollout of the fifty, with the same shapes."""
    prompts = reviews.parent / "prompts.txt"
    prompts.write_text("".join(f"{'a film ' * 8} {number}\n" for number in range(20)), encoding="utf-8")
    run = models / "run"
    result = run_command(
        "train", "--config", "rl4lms-imdb", "--model", models / "writer", "--reward", models / "judge",
        "--prompts", prompts, "--eval-prompts", prompts, "--eval-completions", 4, "--total-tokens", 1200,
        "--output", run,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = read_progress(run / "progress.csv")
    assert 1200 <= int(rows[0]["time/total_timesteps"]) < 1280 + 48
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert 0 < evaluation["after"]["score"] < 1
    assert evaluation["before"]["perplexity"] == pytest.approx(VOCAB_SIZE, rel=0.1)
    # At a learning rate of 1e-6 hardly anything moves in one rollout.
    assert 0 <= evaluation["after"]["kl"] < 0.1


def test_a_name_that_nothing_ships_under_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = (
        f"There are no settings 'rl4lms-imbd': expected a YAML file, or one of {', '.join(config_names())}, which ship "
        "with TextGym. Did you mean 'rl4lms-imdb'?"
    )
    with pytest.raises(ValueError, match=exactly(message)):
        find_config(Path("rl4lms-imbd"))
    assert run_command("train", "--config", "rl4lms-imbd").exit_code == 2
    assert find_config(Path("mine.yaml")) == Path("mine.yaml")


def test_the_loop_that_ships_asks_people_about_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_names(LOOPS) == ["films"]
    settings = read_loop_settings(find_config(Path("films"), LOOPS))
    assert settings.annotators == {"people": {"per_item": 1}}
    assert all(len(load_prompts(source)) >= 25 for source in (settings.prompts, settings.eval_prompts))
    refused = run_command("rlhf", "film")
    assert refused.exit_code == 2
    assert "expected a YAML file, or one of films, which ship with TextGym. Did you mean 'films'?" in refused.stderr
    assert list(tmp_path.iterdir()) == []
