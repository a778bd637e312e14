"""A model of which a part is missing is refused, whoever loads it, and never filled up with random numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model

from tests.fakes import VOCAB_SIZE, byte_tokenizer
from textgym import whole_models
from textgym.models import load_language_model, load_sequence_classifier

CONFIG: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}


@pytest.mark.parametrize(
    ("load", "model", "lost"),
    [
        (load_language_model, GPT2LMHeadModel(GPT2Config(**CONFIG)), "transformer.h.1.attn.c_attn.weight"),
        (
            load_sequence_classifier,
            GPT2ForSequenceClassification(GPT2Config(**CONFIG, id2label={0: "LABEL_0"})),
            "score.weight",
        ),
    ],
)
def test_a_model_that_lacks_a_part_is_refused(
    load: Callable[[str], object], model: GPT2LMHeadModel | GPT2ForSequenceClassification, lost: str, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(str(tmp_path))
    load(str(tmp_path))
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"^The weights in ") as caught:
        load(str(tmp_path))
    n_parts = len(model.state_dict())
    assert str(caught.value) == (
        f"The weights in {tmp_path} lack 1 of the {n_parts} parts of a {type(model).__name__}, which would be random "
        f"numbers: {lost}; copy or save the model anew."
    )


def test_a_language_head_that_is_tied_to_the_embeddings_is_not_missing(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(**CONFIG)).save_pretrained(tmp_path)
    load_language_model(tmp_path)
    GPT2Model(GPT2Config(**CONFIG, tie_word_embeddings=False)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"lack 1 of the 29 parts of a GPT2LMHeadModel, .*: lm_head\.weight; copy"):
        load_language_model(tmp_path)


def test_many_missing_parts_are_counted(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(**{**CONFIG, "n_layer": 1})).save_pretrained(tmp_path)
    GPT2Config(**CONFIG).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"lack 12 of the 29 parts of .*: transformer\.h\.1\..*, .*, .*, .* and 8 more; copy"
    ):
        load_language_model(tmp_path)


def test_a_path_is_not_looked_for_on_the_hub_but_a_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies beside runs is a path, too; a folder that is called as an organisation is, does not make one."""
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/one", "some-lab/a-model-of-mine"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "runs/one/versions.json").touch()
    for path in ("runs/two", "./two", str(tmp_path / "two"), "a/b/c"):
        with pytest.raises(ValueError, match=rf"^No model named '{path}'"):
            load_language_model(path)
    # Offline, as in these tests, the hub's part has found no network.
    with pytest.raises(ValueError, match=r"^No language model named 'some-lab/a-model': .* \(.+\)$"):
        load_language_model("some-lab/a-model")


def test_a_misspelt_bundled_is_refused_before_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(whole_models, "load_whole", ask)
    with pytest.raises(ValueError, match="Did you mean 'bundled'"):
        load_language_model("bundeld")
    with pytest.raises(AssertionError, match="asked"):
        load_language_model("gpt2")
