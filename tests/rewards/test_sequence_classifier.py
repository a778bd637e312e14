"""Sequence classifiers as rewards: what a folder must hold, how several labels are read, and texts of no tokens."""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    ByT5Tokenizer,
    CanineConfig,
    CanineForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForSequenceClassification,
    TextClassificationPipeline,
)

from tests.fakes import EOS_TOKEN_ID, VOCAB_SIZE, byte_tokenizer, tokens
from textgym.models import load_tokenizer
from textgym.rewards import RewardFunction, SequenceClassifier, build_reward, reward_to_data

COMMIT = "0" * 40
SMALL: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 40, "num_labels": 1,
}  # fmt: skip
DISTILLED: dict[str, Any] = {
    "vocab_size": 300, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 40,
    "num_labels": 1,
}  # fmt: skip
MADE: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL)),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTILLED)),
    "llama": lambda: LlamaForSequenceClassification(LlamaConfig(**SMALL)),
    "gpt2": lambda: make_gpt2(["LABEL_0"]),
}


def make_gpt2(labels: list[str], **settings: Any) -> GPT2ForSequenceClassification:
    """Make a GPT-2 of random weights, 2 layers and width 16, that classifies bytes."""
    torch.manual_seed(len(labels))
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.5,
        bos_token_id=EOS_TOKEN_ID, eos_token_id=EOS_TOKEN_ID, pad_token_id=EOS_TOKEN_ID,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}, **settings,
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config)
    model.eval()
    return model


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    model.save_pretrained(folder)
    (byte_tokenizer() if tokenizer is None else tokenizer).save_pretrained(str(folder))
    return str(folder)


def score(reward: RewardFunction, texts: list[str]) -> Any:
    return reward(prompts=[""] * len(texts), completions=texts)


@pytest.mark.parametrize("architecture", MADE)
def test_a_folder_without_its_tokenizer_is_refused(architecture: str, tmp_path: Path) -> None:
    """The scores would be constant, since transformers makes up a vocabulary of special tokens."""
    MADE[architecture]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no tokenizer's vocabulary") as caught:
        SequenceClassifier(str(tmp_path))
    message = (
        f"The folder {tmp_path} holds no tokenizer's vocabulary, such as a tokenizer.json; save the tokenizer there "
        f"too, by tokenizer.save_pretrained({str(tmp_path)!r})."
    )
    assert str(caught.value) == message
    byte_tokenizer().save_pretrained(str(tmp_path))
    SequenceClassifier(str(tmp_path))
    # Its configuration alone is no tokenizer either.
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"holds no tokenizer's vocabulary"):
        SequenceClassifier(str(tmp_path))


def test_a_language_models_folder_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    make_gpt2(["LABEL_0"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no tokenizer's vocabulary, .* by tokenizer\.save_pretrained\("):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_the_older_kind_is_enough(tmp_path: Path) -> None:
    MADE["bert"]().save_pretrained(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    good, bad = score(SequenceClassifier(str(tmp_path)), ["good", "bad"])
    assert good != bad


def test_tokenizers_that_need_no_vocabulary_need_no_file(tmp_path: Path) -> None:
    """Those of bytes and of characters, which a model's own configuration may name."""
    torch.manual_seed(0)
    settings = {**SMALL, "max_position_embeddings": 64, "local_transformer_stride": 4, "downsampling_rate": 2}
    canine = CanineForSequenceClassification(CanineConfig(**settings, num_hash_buckets=64))
    canine.save_pretrained(tmp_path / "canine")
    good, bad = score(SequenceClassifier(str(tmp_path / "canine")), ["good", "bad"])
    assert good != bad
    folder = save(tmp_path / "bytes", MADE["bert"](), ByT5Tokenizer(extra_ids=0))
    assert not list(Path(folder).glob("tokenizer.json"))
    good, bad = score(SequenceClassifier(folder), ["good", "bad"])
    assert good != bad


@pytest.mark.parametrize(
    "problem_type", [None, "single_label_classification", "multi_label_classification", "regression"]
)
def test_each_label_is_what_the_pipeline_of_transformers_says(problem_type: str | None, tmp_path: Path) -> None:
    folder = save(tmp_path, make_gpt2(["bad", "fair", "good"], problem_type=problem_type))
    pipeline = TextClassificationPipeline(
        model=GPT2ForSequenceClassification.from_pretrained(folder), tokenizer=AutoTokenizer.from_pretrained(folder)
    )
    texts = ["The sea", "is wide", "and calm"]
    expected = [{entry["label"]: entry["score"] for entry in pipeline(text, top_k=None)} for text in texts]
    for label in ("bad", "fair", "good"):
        reward = SequenceClassifier(folder, label=label)
        assert score(reward, texts) == pytest.approx([one[label] for one in expected], abs=1e-5)
        assert reward.score_range == (None if problem_type == "regression" else (0.0, 1.0))
        assert score(pickle.loads(pickle.dumps(reward)), texts) == score(reward, texts)


def test_labels_that_do_not_exclude_each_other_are_read_one_by_one(tmp_path: Path) -> None:
    model = make_gpt2(["rude", "kind"], problem_type="multi_label_classification")
    folder = save(tmp_path, model)
    with torch.no_grad():
        rude, kind = model(torch.tensor([tokens("The sea")])).logits[0].tolist()
    assert score(SequenceClassifier(folder), ["The sea"]) == [pytest.approx(1 / (1 + math.exp(-kind)), abs=1e-5)]
    rudeness = SequenceClassifier(folder, label="rude")
    assert score(rudeness, ["The sea"]) == [pytest.approx(1 / (1 + math.exp(-rude)), abs=1e-5)]


@pytest.mark.parametrize("problem_type", [None, "regression", "multi_label_classification"])
def test_one_output_is_given_as_it_is(problem_type: str | None, tmp_path: Path) -> None:
    """`transformers.pipeline` would squeeze it into 0 to 1, save for "regression"."""
    model = make_gpt2(["LABEL_0"], problem_type=problem_type)
    reward = SequenceClassifier(save(tmp_path, model))
    with torch.no_grad():
        expected = float(model(torch.tensor([tokens("The sea")])).logits)
    assert not 0 <= expected <= 1
    assert score(reward, ["The sea"]) == [pytest.approx(expected, abs=1e-5)]
    assert reward.score_range is None


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("reads", ["joined", "pair", "completion"])
def test_an_empty_text_is_one_token_whatever_the_batch(reads: Any, padding_side: str, tmp_path: Path) -> None:
    model = make_gpt2(["LABEL_0"])
    folder = save(tmp_path, model)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": padding_side}))
    reward = SequenceClassifier(folder, reads=reads)
    with torch.no_grad():
        expected = float(model(torch.tensor([[EOS_TOKEN_ID]])).logits)
    assert score(reward, [""]) == [pytest.approx(expected, abs=1e-5)]
    assert score(reward, ["", ""]) == pytest.approx([expected] * 2, abs=1e-5)
    assert score(reward, ["is wide", "", "a"])[1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("settings", [{"padding_side": "left"}, {"pad_token": "c"}])
def test_a_score_does_not_depend_on_the_batch(settings: dict[str, str], tmp_path: Path) -> None:
    """With padding before texts, as generation wants it, and with a padding token that the model was not told of."""
    model, tokenizer = make_gpt2(["LABEL_0"]), byte_tokenizer()
    model.config.pad_token_id = None
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    reward = SequenceClassifier(save(tmp_path, model, tokenizer))
    together = score(reward, ["is wide", "is", "is wide and deep"])
    assert together == pytest.approx([score(reward, [text])[0] for text in ("is wide", "is", "is wide and deep")])
    with torch.no_grad():
        assert together[1] == pytest.approx(float(model(torch.tensor([tokens("is")])).logits), abs=1e-5)


@pytest.mark.parametrize(
    ("special", "stand_in"),
    [
        ({"bos_token": "a", "eos_token": "b", "pad_token": "c"}, "b"),
        ({"bos_token": "a", "eos_token": None, "pad_token": "c"}, "a"),
        ({"bos_token": None, "eos_token": None, "pad_token": "c"}, "c"),
    ],
)
def test_an_empty_text_is_the_end_else_the_beginning_else_padding(
    special: dict[str, str | None], stand_in: str, tmp_path: Path
) -> None:
    model, tokenizer = make_gpt2(["LABEL_0"]), byte_tokenizer()
    for key, token in special.items():
        setattr(tokenizer, key, token)
    model.config.pad_token_id = tokenizer.pad_token_id
    reward = SequenceClassifier(save(tmp_path, model, tokenizer))
    with torch.no_grad():
        expected = float(model(torch.tensor([tokens(stand_in)])).logits)
    assert score(reward, ["", "is wide"])[0] == pytest.approx(expected, abs=1e-5)


def test_an_empty_text_without_any_token_to_stand_for_it_is_an_error(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = tokenizer.pad_token = None
    folder = save(tmp_path, make_gpt2(["LABEL_0"]), tokenizer)
    with pytest.raises(ValueError, match="has no token for an empty text") as caught:
        score(SequenceClassifier(folder), [""])
    assert str(caught.value) == (
        f"The tokenizer of {folder} has no token for an empty text, expected eos_token, bos_token or pad_token; set "
        "one of them and save the tokenizer anew."
    )


def test_weights_that_only_come_as_a_pickle_are_refused_unless_asked_for(tmp_path: Path) -> None:
    folder = save(tmp_path, make_gpt2(["LABEL_0"]))
    expected = score(SequenceClassifier(folder), ["The sea"])
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    # Beside safe ones the pickle is not read.
    assert score(SequenceClassifier(folder), ["The sea"]) == pytest.approx(expected, abs=1e-5)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="pickle") as caught:
        SequenceClassifier(folder)
    assert str(caught.value) == (
        f"The folder {folder} has its weights as a pickle only, which can run any code; if you trust it, set "
        "allow_pickle to True."
    )
    # Nor does a file of safe weights of another name make transformers read the pickle.
    (tmp_path / "other.safetensors").touch()
    with pytest.raises(ValueError, match="holds no sequence classifier that transformers can load"):
        SequenceClassifier(folder)
    reward = SequenceClassifier(folder, allow_pickle=True)
    assert score(reward, ["The sea"]) == pytest.approx(expected, abs=1e-5)
    assert eval(repr(reward)) == reward == build_reward(reward_to_data(reward))
    with pytest.raises(TypeError, match="allow_pickle must be True or False, got 'yes'"):
        SequenceClassifier(folder, allow_pickle="yes")  # type: ignore[arg-type]


def test_a_name_on_the_hub_takes_its_tokenizer_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name stands for no folder here; what was downloaded lies in the hub's cache."""
    model = make_gpt2(["LABEL_0"])
    repository = tmp_path / "models--some-lab--reward"
    save(repository / "snapshots" / COMMIT, model)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    reward = SequenceClassifier("some-lab/reward")
    with torch.no_grad():
        expected = float(model(torch.tensor([tokens("The sea")])).logits)
    assert score(reward, ["The sea"]) == [pytest.approx(expected, abs=1e-5)]
