"""Reward models of language models: they learn, read comments, score alike in any batch, and come back as saved."""

import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, T5Config, T5Model

from tests.rewards.learned.makers import GOOD, rated_films, save_tiny_encoder, save_tiny_gpt2, word_tokenizer
from textgym.rewards.learned import Feedback, NetworkRewardModel, Preference, load_reward_model, split_feedback
from textgym.rewards.learned.backbone import load_backbone
from textgym.rewards.learned.encoding import encode_texts

TRAINING, HELD_OUT = rated_films(300), rated_films(60, seed=1)
TEXTS = HELD_OUT.texts()
QUICK: dict[str, Any] = {"epochs": 6, "learning_rate": 1e-2, "batch_size": 32, "patience": 6, "device": "cpu"}


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("backbones")
    return {"encoder": save_tiny_encoder(folder / "encoder"), "gpt2": save_tiny_gpt2(folder / "gpt2")}


def pearson(model: NetworkRewardModel) -> float:
    agreement = model.evaluate(HELD_OUT).agreement
    assert agreement is not None
    assert agreement.pearson is not None
    return agreement.pearson


@pytest.mark.parametrize("backbone", ["encoder", "gpt2"])
@pytest.mark.parametrize(("objective", "least"), [("ratings", 0.8), ("classes", 0.5), ("preferences", 0.8)])
def test_a_network_learns_each_objective_and_comes_back_as_saved(
    backbones: dict[str, str], backbone: str, objective: Any, least: float, tmp_path: Path
) -> None:
    """With a learning rate of 0 the correlation with ratings lies between −0.16 and 0.17."""
    margin = 0.2 if objective == "preferences" else 0.0
    model = NetworkRewardModel(backbones[backbone], objective=objective, margin=margin, **QUICK)
    model.fit(TRAINING)
    assert pearson(model) > least
    calibration = model.evaluate(HELD_OUT).calibration
    assert calibration is not None
    assert calibration.quantity.split()[0] in {"rating", "probability"}
    model.save(tmp_path / "model")
    loaded = load_reward_model(tmp_path / "model")
    assert loaded.score(*TEXTS) == model.score(*TEXTS)
    assert pickle.loads(pickle.dumps(loaded)).score(*TEXTS) == model.score(*TEXTS)
    assert {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_two_seeded_runs_are_equal_and_leave_torch_alone(backbones: dict[str, str]) -> None:
    settings = {**QUICK, "epochs": 2}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = NetworkRewardModel(backbones["encoder"], **settings).fit(TRAINING).score(*TEXTS)
    assert torch.equal(torch.rand(2), expected)
    assert NetworkRewardModel(backbones["encoder"], **settings).fit(TRAINING).score(*TEXTS) == one
    assert NetworkRewardModel(backbones["encoder"], seed=1, **settings).fit(TRAINING).score(*TEXTS) != one


def test_scores_do_not_depend_on_the_batch(backbones: dict[str, str]) -> None:
    for backbone in backbones.values():
        model = NetworkRewardModel(backbone, **{**QUICK, "epochs": 1}).fit(TRAINING)
        texts = ["film", "a very long story " * 5, "lovely song", ""]
        together = model.raw_scores([""] * 4, texts)
        assert together == pytest.approx([model.raw_scores([""], [text])[0] for text in texts], abs=1e-5)


def test_training_stops_when_held_out_loss_rises_and_keeps_the_best_epoch(backbones: dict[str, str]) -> None:
    """Held-out ratings of opposite sign: the better the training, the worse they fit."""
    opposite = Feedback(tuple(replace(one, ratings=tuple(-r for r in one.ratings)) for one in HELD_OUT.ratings))
    output = io.StringIO()
    settings = {**QUICK, "epochs": 10, "patience": 2}
    model = NetworkRewardModel(backbones["encoder"], **settings)
    model.fit(TRAINING, held_out=opposite, console=Console(file=output, width=200))
    losses = [one["held_out"] for one in model.record["losses"]]
    assert len(losses) < 10
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    predicted = model.raw_scores(*TEXTS)
    scale = np.std([one.rating for one in TRAINING.ratings])
    error = np.mean((predicted - [one.rating for one in opposite.ratings]) ** 2) / scale**2
    assert error == pytest.approx(min(losses), rel=1e-3)
    assert output.getvalue().splitlines()[0].startswith("epoch 1 · loss ")
    assert len(output.getvalue().splitlines()) == len(losses)


def test_frozen_layers_stay_as_they_are_and_the_others_learn(backbones: dict[str, str]) -> None:
    before = {name: value.clone() for name, value in _weights(backbones["encoder"], trainable_layers=0).items()}
    after = _weights(backbones["encoder"], trainable_layers=1)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed)
    with pytest.raises(ValueError, match="trainable_layers must be between 0 and the backbone's 2 layers, got 3"):
        _weights(backbones["encoder"], trainable_layers=3)


def _weights(backbone: str, trainable_layers: int) -> dict[str, torch.Tensor]:
    model = NetworkRewardModel(backbone, trainable_layers=trainable_layers, **{**QUICK, "epochs": 1}).fit(TRAINING)
    assert model._network is not None
    return dict(model._network.backbone.state_dict())


def test_a_comment_is_a_second_input(backbones: dict[str, str]) -> None:
    """The text says nothing, the comment everything: with it the model knows, without it it cannot."""
    ratings = [
        replace(one, completion=f"film {' '.join(['story'] * index)}", comment=one.completion)
        for index, one in enumerate(TRAINING.ratings[:40])
    ] * 6
    model = NetworkRewardModel(backbones["encoder"], comment_dropout=0.2, **{**QUICK, "epochs": 10})
    training, stopping = split_feedback(Feedback(tuple(ratings)), 0.1)
    model.fit(training, held_out=stopping)
    good, bad, silent = model.score(["A "] * 3, ["film"] * 3, [" ".join(GOOD), "dull ugly dreadful", ""])
    assert good > bad + 0.5
    assert silent == model.score(["A "], ["film"])[0]


def test_segments_are_joined_as_the_backbone_expects_and_cut_at_their_beginning() -> None:
    encoder, gpt2 = word_tokenizer(is_encoder=True), word_tokenizer(is_encoder=False)

    def read(tokenizer: Any, prompt: str, text: str, comment: str, room: int) -> str:
        (ids,) = encode_texts(tokenizer, [prompt], [text], [comment], room)
        return " ".join(tokenizer.convert_ids_to_tokens(ids))

    assert read(encoder, "A ", "lovely film", "", 32) == "[CLS] A lovely film [SEP]"
    assert read(encoder, "A ", "lovely film", "dull song", 32) == "[CLS] A lovely film [SEP] dull song [SEP]"
    assert read(gpt2, "A ", "lovely film", "", 32) == "A lovely film <end>"
    assert read(gpt2, "A ", "lovely film", "dull song", 32) == "A lovely film <end> dull song <end>"
    assert read(encoder, "A B ", "lovely film", "", 4) == "[CLS] lovely film [SEP]"
    assert len(read(encoder, "A B " * 50, "film", "song " * 50, 16).split()) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "stars"}, "objective must be 'ratings', 'classes' or 'preferences', got 'stars'."),
        ({"epochs": 0}, "epochs must be at least 1, got 0."),
        ({"margin": 0.5}, "margin belongs to the objective 'preferences', got it with the objective 'ratings'."),
        (
            {"objective": "preferences", "boundaries": np.array([2, 4])},
            "boundaries belongs to the objective 'classes', got it with the objective 'preferences'.",
        ),
        ({"comment_dropout": 2}, "comment_dropout must be between 0 and 1, got 2."),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message[:8]) as caught:
        NetworkRewardModel("bundled", **arguments)
    assert str(caught.value) == message


def test_a_backbone_that_only_comes_as_a_pickle_is_refused_unless_asked_for(
    backbones: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(backbones["encoder"])
    for file in folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    settings = {**QUICK, "epochs": 1}
    with pytest.raises(
        ValueError, match=r"its weights as a pickle only, .*; if you trust it, set allow_pickle to True\."
    ):
        NetworkRewardModel(str(tmp_path), **settings).fit(TRAINING)
    NetworkRewardModel(str(tmp_path), allow_pickle=True, **settings).fit(TRAINING)


def test_a_backbone_that_lacks_weights_is_refused(backbones: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(backbones["encoder"], folder)
    weights = load_file(folder / "model.safetensors")
    model = NetworkRewardModel(str(folder), **{**QUICK, "epochs": 1})

    def refusal(kept: dict[str, torch.Tensor]) -> str:
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"^The weights in ") as caught:
            model.fit(TRAINING)
        return str(caught.value)

    lost = "encoder.layer.1.output.dense.bias"
    assert refusal({name: value for name, value in weights.items() if name != lost}) == (
        f"The weights in {folder} lack 1 of the 39 parts of a BertModel, which would be random numbers: {lost}; copy "
        "or save the model anew."
    )
    assert "lack 37 of the 39 parts of a BertModel, which would be random numbers: embeddings.LayerNorm.bias, " in (
        refusal({name: value for name, value in weights.items() if name.startswith("pooler")})
    )
    assert refusal({**weights, lost: torch.zeros(3)}) == (
        f"The weights in {folder} do not fit its config.json: {lost} has 3, expected 16; copy or save the model anew."
    )
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"^The weights in .* are damaged \(.*\); copy or save the model anew\.$"):
        model.fit(TRAINING)
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ValueError, match=rf"^The folder {folder} holds no backbone .*no file named .*model\.safetensors"
    ):
        model.fit(TRAINING)


def test_a_head_may_be_missing_and_so_may_a_pooler_that_is_not_used(backbones: dict[str, str], tmp_path: Path) -> None:
    encoder = BertForMaskedLM(BertConfig.from_pretrained(backbones["encoder"]))
    encoder.save_pretrained(tmp_path)
    assert not any("pooler" in name for name in encoder.state_dict())
    loaded, saved = load_backbone(tmp_path).state_dict(), encoder.bert.state_dict()
    assert {name for name in loaded if not name.startswith("pooler.")} == set(saved)
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    assert type(load_backbone(backbones["gpt2"])).__name__ == "GPT2Model"


def test_a_backbone_that_does_not_read_text_alone_is_refused(tmp_path: Path) -> None:
    config = T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"such as a BERT or a GPT-2; .* is a T5Model\.$"):
        load_backbone(tmp_path)


def test_a_tokenizer_with_tokens_that_the_backbone_does_not_know_is_refused(
    backbones: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(backbones["encoder"], tmp_path / "backbone")
    tokenizer = word_tokenizer(is_encoder=True)
    n_known = len(tokenizer)
    tokenizer.add_tokens(["new"])
    tokenizer.save_pretrained(str(tmp_path / "backbone"))
    with pytest.raises(
        ValueError, match=rf"^The tokenizer has {n_known + 1} tokens, of which the backbone knows {n_known};"
    ):
        NetworkRewardModel(str(tmp_path / "backbone"), **QUICK).fit(TRAINING)


def test_a_text_is_as_long_as_the_backbone_has_positions_for(backbones: dict[str, str]) -> None:
    """Both have 64; the default of max_tokens is 128."""
    long = Feedback(tuple(replace(one, completion="film " * 80 + one.completion) for one in TRAINING.ratings[:40]))
    for backbone in backbones.values():
        model = NetworkRewardModel(backbone, epochs=1, device="cpu").fit(long)
        assert model.score(["A"], ["story " * 80 + "film " * 64]) == model.score(["A"], ["film " * 64])


def test_a_loss_that_is_no_number_is_an_error(backbones: dict[str, str]) -> None:
    model = NetworkRewardModel(backbones["encoder"], **{**QUICK, "epochs": 1}).fit(TRAINING)
    model.learning_rate = 1e30
    with pytest.raises(ValueError, match=r"^The loss became \w+ in epoch 1; lower learning_rate, which is 1e\+30\.$"):
        model.fit(TRAINING)
    with pytest.raises(ValueError, match="has not learned anything yet"):
        model.score(["A"], ["film"])


def test_pairs_of_weight_0_are_not_learned_from(backbones: dict[str, str]) -> None:
    pairs = Feedback(
        preferences=(Preference("A", "film", "song", weight=0.0), Preference("A", "dull", "ugly", weight=0))
    )
    with pytest.raises(ValueError, match="A model of preferences needs pairs"):
        NetworkRewardModel(backbones["encoder"], objective="preferences", **QUICK).fit(pairs)
    alone = Feedback(preferences=(Preference("A", "film", "song"), Preference("B", "dull", "ugly", weight=0)))
    with pytest.raises(
        ValueError,
        match=r"^The 2 ratings and pairs held out to stop training by are too few or too much alike\. A model of",
    ):
        NetworkRewardModel(backbones["encoder"], objective="preferences", **QUICK).fit(alone, held_out=pairs)
