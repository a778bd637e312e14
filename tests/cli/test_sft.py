"""Supervised fine-tuning: the loss counts completions alone, packing changes nothing, and it learns and stops."""

import json
import math
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tokenizers.processors import TemplateProcessing
from torch.nn.functional import cross_entropy
from transformers import Gemma2Config, GraniteConfig, MistralConfig, PreTrainedModel

from tests.agents.tiny import gpt2_config, language_model, llama_config
from tests.cli.conftest import run_command
from tests.fakes import EOS_TOKEN_ID, byte_tokenizer
from textgym.models import encode_texts, load_language_model
from textgym.training import sft_training
from textgym.training.demonstrations import Demonstration, PackedRows, load_demonstrations, pack
from textgym.training.packing_check import check_packing
from textgym.training.sft import fine_tune, split
from textgym.training.sft_options import SftOptions
from textgym.training.sft_training import completion_loss

DEMONSTRATIONS = [
    Demonstration((1, 2, 3, 4, 0), 2),
    Demonstration((5, 3, 0), 1),
    Demonstration((2, 2, 2, 6, 1, 4, 0), 4),
    Demonstration((7, 1, 0), 1),
]


SMALL: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.5,
}  # fmt: skip


def bounded_config(**changes: Any) -> Gemma2Config:
    """A model whose logits lie between two bounds; it has eager attention alone."""
    return Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=1.5, **{**changes, "attn_implementation": "eager"})


def scaled_config(**changes: Any) -> GraniteConfig:
    """A model whose logits are divided by a number."""
    return GraniteConfig(**SMALL, logits_scaling=8.0, **changes)


def one_by_one(model: PreTrainedModel) -> float:
    """The same loss, by a plain forward pass of each demonstration."""
    total = 0.0
    for one in DEMONSTRATIONS:
        ids = torch.tensor([one.token_ids])
        logits = model(ids).logits[0, one.n_prompt - 1 : -1]
        total += cross_entropy(logits, ids[0, one.n_prompt :], reduction="sum").item()
    return total


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", [gpt2_config, llama_config, bounded_config, scaled_config])
def test_packing_leaves_the_loss_as_it_is(config: object, attention: str) -> None:
    assert callable(config)
    model = language_model(config(attn_implementation=attention))
    packed = pack(DEMONSTRATIONS, 12, pad_token_id=0)
    assert packed.input_ids.shape == (2, 12)
    with torch.no_grad():
        loss = completion_loss(model, packed).item()
    assert loss == pytest.approx(one_by_one(model), rel=1e-5)


def test_a_model_that_reads_packed_rows_otherwise_is_refused() -> None:
    model = language_model(MistralConfig(**SMALL, sliding_window=3))
    check_packing(model, DEMONSTRATIONS[1:2])
    with pytest.raises(ValueError, match=r"^TextGym cannot fine-tune a MistralForCausalLM on .* 7 tokens"):
        check_packing(model, DEMONSTRATIONS)
    for config in (gpt2_config(), llama_config(), bounded_config(), scaled_config()):
        check_packing(language_model(config), DEMONSTRATIONS)


def test_nothing_is_learned_of_prompts_and_padding() -> None:
    packed = pack(DEMONSTRATIONS, 12, pad_token_id=0)
    assert int(packed.is_learned.sum()) == sum(len(one.token_ids) - one.n_prompt for one in DEMONSTRATIONS)
    assert not packed.is_learned[packed.demonstration == -1].any()
    starts = packed.position_ids == 0
    assert not packed.is_learned[starts].any()


def test_demonstrations_are_prompt_completion_and_end(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"prompt": "ab", "completion": "好"}) + "\n", encoding="utf-8")
    (one,) = load_demonstrations(path, byte_tokenizer(), 64)
    assert one.n_prompt == 2
    assert byte_tokenizer().decode(list(one.token_ids[:-1])) == "ab好"
    assert one.token_ids[-1] == EOS_TOKEN_ID


def test_tokens_that_a_tokenizer_would_add_are_left_out_as_where_a_policy_goes_on_with_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"prompt": "ab", "completion": " c"}) + "\n", encoding="utf-8")
    tokenizer = byte_tokenizer()
    around = TemplateProcessing(single="<end> $A <end>", special_tokens=[("<end>", EOS_TOKEN_ID)])
    tokenizer.backend_tokenizer.post_processor = around
    assert len(tokenizer("ab")["input_ids"]) == 4
    (one,) = load_demonstrations(path, tokenizer, 64)
    assert list(one.token_ids[: one.n_prompt]) == encode_texts(tokenizer, ["ab"], "prompts")[0]
    assert one == load_demonstrations(path, byte_tokenizer(), 64)[0]


def test_characters_that_a_vocabulary_lacks_are_one_line(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_command("sft", "--data", data, "--output", "tuned", "--model", "symbols:abc>")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: The tokenizer cannot encode the prompts (its vocabulary has no 'd', 'e', ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("learning_rate", [1e-2, 3.0])
def test_what_was_learned_before_it_was_stopped_is_kept_if_it_is_better(
    tmp_path: Path, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, learning_rate: float
) -> None:
    """A signal comes in the middle of the first epoch."""
    monkeypatch.chdir(tmp_path)
    losses = []

    def interrupting(model: PreTrainedModel, rows: PackedRows) -> torch.Tensor:
        loss = completion_loss(model, rows)
        if loss.requires_grad:
            losses.append(loss)
            if len(losses) == 3:
                os.kill(os.getpid(), signal.SIGINT)
        return loss

    monkeypatch.setattr(sft_training, "completion_loss", interrupting)
    options = ("--model", tiny_model, "--learning-rate", learning_rate, "--epochs", 2, "--batch-tokens", 64)
    result = run_command("sft", "--data", data, "--output", "tuned", *options)
    assert result.exit_code == 0, result.output
    assert len(losses) == 3
    before, after = (load_language_model(folder).state_dict() for folder in (tiny_model, tmp_path / "tuned"))
    is_as_it_was = all(torch.equal(before[name], after[name]) for name in before)
    assert is_as_it_was == (learning_rate == 3.0)
    said = (
        "Stopped before the held-out loss was lower than at first: the model is written as it was.\n"
        if is_as_it_was
        else "Kept epoch 1 of 1, whose held-out loss is lowest.\n"
    )
    assert said in result.output
    assert "epoch 1, in part: loss " in result.output
    assert [one["is_whole"] for one in json.loads((tmp_path / "tuned/sft.json").read_text())["epochs"]] == [True, False]


def test_words_that_run_together_are_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [("The film", " was a joy"), ("The film", "was a joy"), ("天气", "很好"), ("So", "it was"), ("It ends", ".")]
    lines = [json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    message = (
        f"In 2 of 5 demonstrations in {path} the completion follows without a space, as in 'filmwas'; begin it with "
        "one where it is a new word."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        load_demonstrations(path, byte_tokenizer(), 64)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "ab"}, "row 1 of .* must have a completion, got None"),
        ({"prompt": "ab", "completion": ""}, "row 1 of .* must have a completion, got ''"),
        ({"prompt": "ab", "completion": "x" * 70}, "row 1 of .* has 73 tokens, more than the 64"),
    ],
)
def test_a_bad_demonstration_is_named(tmp_path: Path, row: dict[str, str], message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_demonstrations(path, byte_tokenizer(), 64)


def test_what_is_held_out_is_not_learned() -> None:
    learned, held_out = split(DEMONSTRATIONS, 0.25, seed=3)
    assert len(held_out) == 1
    assert sorted(learned + held_out) == sorted(DEMONSTRATIONS)
    with pytest.raises(ValueError, match="expected demonstrations to learn besides those held out, got 1 in all"):
        split(DEMONSTRATIONS[:1], 0.5, seed=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Prompts of three letters, each completed by the same word; every sixteenth row is another noise."""
    letters = "abcdefgh"
    rows = [{"prompt": f"{a}{b}{c}", "completion": " yes"} for a in letters for b in letters[:4] for c in letters[:2]]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_it_learns_and_the_folder_is_one_to_train_on(
    tmp_path: Path, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights need about ln 257 = 5.5 nats a token; the same word every time can be learned to nearly 0."""
    monkeypatch.chdir(tmp_path)
    options = ("--model", tiny_model, "--epochs", 30, "--learning-rate", "3e-2", "--batch-tokens", 128)
    result = run_command("sft", "--data", data, "--output", "tuned", *options)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("Written to tuned. Go on with: textgym train --model tuned\n")
    record = json.loads((tmp_path / "tuned" / "sft.json").read_text())
    losses = [one["held_out_loss"] for one in record["epochs"]]
    assert losses[0] > 4
    assert min(losses) < 0.1
    written = run_command("generate", "tuned", "--prompt", "bad", "--greedy", "--max-new-tokens", 8)
    assert written.output == "bad yes\n"


def test_it_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(
    tmp_path: Path, tiny_model: Path, data: Path
) -> None:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["completion"] = f" {number * 7919 % 1000}"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = SftOptions(
        str(data), str(tiny_model), epochs=60, learning_rate=2e-2, batch_tokens=256, patience=2, held_out=0.25
    )
    epochs = fine_tune(options, tmp_path / "tuned", Console(quiet=True))
    assert len(epochs) < 60
    losses = [one.held_out_loss for one in epochs if one.held_out_loss is not None]
    assert min(losses) == losses[-3]
    tokenizer = byte_tokenizer()
    _, held_out = split(load_demonstrations(data, tokenizer, 64), 0.25, options.seed)
    packed = pack(held_out, 64, EOS_TOKEN_ID)
    with torch.no_grad():
        kept = completion_loss(load_language_model(tmp_path / "tuned"), packed).item() / int(packed.is_learned.sum())
    assert kept == pytest.approx(min(losses), rel=1e-4)


def test_a_model_that_no_epoch_has_made_better_is_kept_as_it_was(
    tmp_path: Path, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--model", tiny_model, "--learning-rate", 30, "--epochs", 5)
    result = run_command("sft", "--data", data, "--output", "tuned", *options)
    assert result.exit_code == 0, result.output
    assert "No epoch has lowered the held-out loss: the model is written as it was." in result.output
    before, after = (load_language_model(folder).state_dict() for folder in (tiny_model, tmp_path / "tuned"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_epoch_that_is_kept_is_named(
    tmp_path: Path, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--model", tiny_model, "--learning-rate", 1e-2, "--epochs", 3)
    result = run_command("sft", "--data", data, "--output", "tuned", *options)
    assert "Kept epoch 3 of 3, whose held-out loss is lowest.\n" in result.output


@pytest.mark.parametrize("held_out", [0, 0.1])
def test_a_loss_that_is_no_number_is_an_error_and_leaves_nothing(
    tmp_path: Path, tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch, held_out: float
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--model", tiny_model, "--learning-rate", 1e30, "--epochs", 9, "--held-out", held_out)
    result = run_command("sft", "--data", data, "--output", "tuned", *options, "--patience", 9)
    assert result.exit_code == 2
    assert "and nothing was written; take a learning_rate below 1e+30." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_a_missing_file_of_demonstrations_is_named(tmp_path: Path, tiny_model: Path) -> None:
    result = run_command("sft", "--data", tmp_path / "none.csv", "--output", tmp_path / "o", "--model", tiny_model)
    assert result.exit_code == 2
    assert f"There is no file of demonstrations {tmp_path / 'none.csv'}" in result.stderr


def test_two_runs_with_one_seed_are_equal(tmp_path: Path, tiny_model: Path, data: Path) -> None:
    options = SftOptions(str(data), str(tiny_model), epochs=2, learning_rate=1e-2, batch_tokens=256)
    runs = [fine_tune(options, tmp_path / name, Console(quiet=True)) for name in ("one", "two")]
    one, two = ([(epoch.loss, epoch.held_out_loss) for epoch in run] for run in runs)
    assert one == two
    assert all(math.isfinite(loss) for _, loss in one if loss is not None)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, data: Path) -> None:
    result = run_command("sft", "--data", data, "--output", tmp_path)
    assert result.exit_code == 2
    assert "is not empty" in result.stderr


@pytest.mark.parametrize("rate", [0, math.inf, math.nan])
def test_a_learning_rate_must_be_a_finite_number(rate: float) -> None:
    with pytest.raises(ValueError, match=f"^learning_rate must be a finite number above 0, got {rate}.$"):
        SftOptions("demonstrations.jsonl", learning_rate=rate)
