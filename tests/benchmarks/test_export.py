"""What is shipped of a pre-training run: it loads like any model, and its card says what the run's files say."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, pipeline

from tests.benchmarks.tiny_run import TINY, write_corpus
from textgym.benchmarks import export
from textgym.benchmarks.pretraining.bits_per_byte import bits_per_byte
from textgym.benchmarks.pretraining.corpus import Source, read_corpus
from textgym.benchmarks.pretraining.evaluation import held_out_openings
from textgym.benchmarks.pretraining.model_card import pretrain_command, write_model_card
from textgym.benchmarks.pretraining.rescaling import rescale
from textgym.benchmarks.pretraining.run_folder import Recipe, RunFolder
from textgym.benchmarks.pretraining.training import Pretraining
from textgym.models import load_language_model, load_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run, its corpus, and what was exported of it."""
    base = tmp_path_factory.mktemp("pretraining")
    paths = {"corpus": write_corpus(base / "corpus"), "run": base / "run", "to": base / "exported"}
    recipe = Recipe(**{**vars(TINY), "context": 64})
    Pretraining(recipe, read_corpus(paths["corpus"]), RunFolder(paths["run"])).run()
    export.main(paths["run"], paths["corpus"], paths["to"])
    return paths


def read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def run_model(folder: Path) -> GPT2LMHeadModel:
    """The model of a run's last checkpoint."""
    state = RunFolder(folder).load_checkpoint()
    assert state is not None
    model = GPT2LMHeadModel(GPT2Config.from_pretrained(folder))
    model.load_state_dict(state["model"])
    model.eval()
    return model


def test_the_weights_are_the_run_s_rescaled_in_half_precision(folders: dict[str, Path]) -> None:
    stored = load_file(folders["to"] / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    expected = run_model(folders["run"])
    rescale(expected)
    loaded = load_language_model(folders["to"]).state_dict()
    for name, tensor in expected.state_dict().items():
        assert loaded[name].dtype == torch.float32
        torch.testing.assert_close(loaded[name], tensor.half().float(), rtol=0, atol=0)


def test_a_rescaled_model_computes_the_same_from_larger_matrices(folders: dict[str, Path]) -> None:
    model = run_model(folders["run"])
    with torch.no_grad():
        for parameter in model.parameters():  # a trained model has no gains of 1 and biases of 0
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
            norm.eps = 1e-12
    token_ids = torch.arange(12)[None]
    before = model(token_ids).logits
    size = model.transformer.wte.weight.square().mean().sqrt().item()
    assert rescale(model, 0.5) == pytest.approx(0.5 / size)
    assert model.transformer.wte.weight.square().mean().sqrt().item() == pytest.approx(0.5)
    torch.testing.assert_close(model(token_ids).logits, before, rtol=1e-4, atol=1e-4)


def test_a_run_begins_with_what_was_exported_and_remembers_how_that_was_trained(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "next")
    recipe = Recipe(**{**vars(TINY), "context": 64, "steps": 2, "dropout": 0.1})
    begun = Pretraining(recipe, read_corpus(folders["corpus"]), folder, earlier=RunFolder(folders["to"]))
    torch.testing.assert_close(
        begun.model.state_dict(), load_language_model(folders["to"]).state_dict(), rtol=0, atol=0
    )
    begun.run()
    record, first = folder.read_record(), RunFolder(folders["run"]).read_record()
    assert record is not None
    assert first is not None
    (earlier,) = record["earlier_runs"]
    assert (earlier["recipe"], earlier["sessions"], earlier["step"]) == (first["recipe"], first["sessions"], TINY.steps)


def test_dropout_is_the_run_s_and_not_the_model_s(folders: dict[str, Path], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    Pretraining(replace(TINY, dropout=0.1), read_corpus(folders["corpus"]), run).run()
    export.export_model(run, tmp_path / "to")
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "to").config
    assert (config.embd_pdrop, config.resid_pdrop, config.attn_pdrop) == (0, 0, 0)


def test_it_loads_in_single_precision_without_being_asked_to(folders: dict[str, Path]) -> None:
    assert AutoModelForCausalLM.from_pretrained(folders["to"]).dtype == torch.float32


def test_the_tokenizer_knows_the_context(folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(folders["to"])
    assert tokenizer.model_max_length == 64
    assert tokenizer.decode(tokenizer("机器学习 film")["input_ids"]) == "机器学习 film"
    assert AutoTokenizer.from_pretrained(folders["to"]).eos_token == "<|endoftext|>"


def test_a_pipeline_writes_text_with_its_default_settings(folders: dict[str, Path]) -> None:
    generator = pipeline("text-generation", str(folders["to"]))
    (result,) = generator("the film was")
    assert result["generated_text"].startswith("the film was")
    many = generator(["the film", "the"], batch_size=2)
    assert len(many) == 2


def test_the_evaluation_is_of_the_exported_weights_on_all_held_out_texts(folders: dict[str, Path]) -> None:
    evaluation = read_json(folders["run"] / "evaluation.json")
    model, tokenizer = load_language_model(folders["to"]), load_tokenizer(folders["to"])
    sources = read_corpus(folders["corpus"])
    for source, measured in zip(sources, evaluation["sources"], strict=True):
        assert measured["name"] == source.name
        assert measured["held_out_texts"] == len(source.held_out) == 3
        assert measured["held_out_bytes"] == sum(map(len, source.held_out))
        assert measured["bits_per_byte"] == round(bits_per_byte(model, tokenizer, source.held_out), 4)  # type: ignore[arg-type]


def test_the_card_says_what_the_files_say(folders: dict[str, Path]) -> None:
    card = (folders["to"] / "README.md").read_text(encoding="utf-8")
    record = read_json(folders["run"] / "run.json")
    evaluation = read_json(folders["run"] / "evaluation.json")
    assert f"{record['parameters']:,} parameters" in card
    assert "1 blocks, width 16, 2 heads, context 64 tokens" in " ".join(card.split())
    assert "After 6 steps: 768 tokens seen" in " ".join(card.split())
    assert "| film reviews (Pang and Lee 2004, the polarity dataset) | CC-BY-4.0 | 107 | 0.01 |" in card
    assert "| speeches of presidents of the United States | public domain | 107 | 0.01 |" in card
    session = record["sessions"][0]
    assert f"| 0 to 6 | {session['machine']['cpu']}, {session['machine']['cores']} cores |" in card
    for source in evaluation["sources"]:
        assert f"| {source['name']} | 3 | {source['held_out_bytes']} | {source['bits_per_byte']:.3f} |" in card
    assert f"mean training loss {evaluation['loss']:.3f}" in " ".join(card.split())
    _, at_one, cooler = re.split(r"\n### Temperature 1\n|\n### Temperature 0\.6\n", card)
    for samples in (at_one, cooler):
        assert len(re.findall(r"^ ?\d+\. \[", samples, flags=re.MULTILINE)) == 20
    assert str(folders["run"].parent) not in card


def test_the_card_of_a_run_that_began_with_another_tells_of_both(folders: dict[str, Path]) -> None:
    record = read_json(folders["run"] / "run.json")
    earlier = {**record, "step": 6}
    del earlier["earlier_runs"]
    config = read_json(folders["to"] / "config.json")
    evaluation = {**read_json(folders["run"] / "evaluation.json"), "step": 3}
    second = {**record, "recipe": {**record["recipe"], "steps": 3, "seed": 1}, "earlier_runs": [earlier]}
    card = write_model_card(second, config, evaluation)
    command = "    python -m textgym.benchmarks.pretrain --corpus CORPUS --output RUN"
    assert f"{command}1 --steps 6 --batch-size 2" in card
    assert f"{command}2 --begin-from RUN1 --steps 3 --batch-size 2" in card
    assert "After 6 and 3 steps: 1,152 tokens seen" in " ".join(card.split())
    assert "\n| 1 | 0 to 6 |" in card
    assert "\n| 2 | 0 to 6 |" in card


def test_the_samples_are_the_same_each_time(folders: dict[str, Path], tmp_path: Path) -> None:
    before = read_json(folders["run"] / "evaluation.json")
    export.main(folders["run"], folders["corpus"], tmp_path)
    assert read_json(folders["run"] / "evaluation.json") == before


def test_openings_are_the_first_words_of_texts_spread_over_the_sources() -> None:
    sources = [Source(name, [], [f"{name} {index} c d e f" for index in range(40)]) for name in ("a", "b", "c")]
    openings = held_out_openings(sources)
    assert [opening.source for opening in openings] == (["a", "b", "c"] * 7)[:20]
    assert [opening.text for opening in openings if opening.source == "b"] == [
        f"b {index} c d" for index in (0, 5, 11, 17, 22, 28, 34)
    ]


def test_the_card_s_command_names_what_is_not_a_default() -> None:
    command = "python -m textgym.benchmarks.pretrain --corpus CORPUS --output RUN --steps "
    assert pretrain_command(Recipe()) == command + "3000"
    assert pretrain_command(Recipe(steps=10, n_layer=2, bf16=True)) == command + "10 --n-layer 2 --bf16"


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        export.main(tmp_path, tmp_path, tmp_path / "to")
    assert capsys.readouterr().err == f"Error: expected a pre-training run in {tmp_path}, found no run.json\n"
    message = f"expected a pre-training run in {tmp_path}, found no checkpoint.pt"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        export.export_model(RunFolder(tmp_path), tmp_path / "to")
