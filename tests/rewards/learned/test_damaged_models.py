"""A folder that was damaged, or is something else, is one clear error, and never a model that scores otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rewards.learned.makers import rated_films, save_tiny_encoder
from textgym.rewards.learned import (
    EnsembleRewardModel,
    LogisticRewardModel,
    NetworkRewardModel,
    RewardModel,
    RidgeRewardModel,
    load_reward_model,
)
from textgym.rewards.learned.folder import ORIGIN, REMEDY

TRAINING = rated_films(60)
MAKERS: dict[str, Callable[[Path], RewardModel]] = {
    "ridge": lambda _: RidgeRewardModel(),
    "logistic": lambda _: LogisticRewardModel(),
    "ensemble": lambda _: EnsembleRewardModel([RidgeRewardModel(), RidgeRewardModel()]),
    "network": lambda backbone: NetworkRewardModel(
        save_tiny_encoder(backbone), epochs=1, batch_size=16, max_tokens=16, device="cpu"
    ),
}


@pytest.fixture(params=list(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    MAKERS[request.param](tmp_path / "backbone").fit(TRAINING).save(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        load_reward_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_missing_or_truncated_file_is_named_or_told(folder: Path) -> None:
    files = [
        path for path in folder.rglob("*") if path.suffix in {".skops", ".safetensors"} or path.name == "config.json"
    ]
    assert files
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert refusal(folder).startswith("The reward model in ")
        path.write_bytes(b"")
        assert refusal(folder).endswith(REMEDY)
        path.unlink()
        assert f"is damaged: {path.relative_to(folder).as_posix()} is missing. {REMEDY}" in refusal(folder)
        path.write_bytes(whole)
    load_reward_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "{file} is damaged: it is not JSON (Expecting property name enclosed in double quotes: line 1 column 2"),
        ("[1]", "{file} must hold an object in braces, got [1] of type list. {remedy}"),
        ({"format": 9}, "{file} must have format 1 and one of the kinds ridge, "),
        ({"kind": ["ridge"]}, "{file} must have format 1 and one of the kinds ridge, "),
        ({"arguments": None}, "{file} is damaged: its arguments are not as they were saved. {remedy}"),
        ({"arguments": {"alpa": 1}}, "The arguments in {file} cannot be used: A reward model of kind 'ridge' has no "),
        ({"arguments": {"alpha": "x"}}, "The arguments in {file} cannot be used: alpha must be a number, got 'x'"),
        ({"normalisation": {"mean": 0}}, "{file} is damaged: its normalisation cannot be used ("),
        (
            {"normalisation": {"mean": 0, "std": 0, "texts": ""}},
            "{file} is damaged: its normalisation cannot be used (std must be above 0, got 0.) {remedy}",
        ),
    ],
)
def test_wrong_json_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    folder = tmp_path / "model"
    RidgeRewardModel().fit(TRAINING).save(folder)
    file = folder / "reward_model.json"
    saved = json.loads(file.read_text())
    file.write_text(change if isinstance(change, str) else json.dumps({**saved, **change}))
    assert refusal(folder).startswith(message.format(file=file, remedy=REMEDY))
    if isinstance(change, str):
        with pytest.raises(ValueError, match=r"holds a reward_model\.json that cannot be read; remove the folder"):
            RidgeRewardModel().fit(TRAINING).save(folder)


def test_what_is_no_folder_of_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    for name, what in (("a.txt", "is a file"), ("b", "does not exist"), ("", "has no reward_model.json")):
        assert refusal(tmp_path / name) == f"{tmp_path / name} is not the folder of a reward model: it {what}. {ORIGIN}"
    with pytest.raises(TypeError, match=r"^folder must be the path of a reward model, got None\.$"):
        load_reward_model(None)  # type: ignore[arg-type]
