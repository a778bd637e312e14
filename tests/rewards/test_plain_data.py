"""Rewards as plain data and back, and everything that is accepted as a reward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import textgym.rewards
from textgym.reward_protocol import resolve_reward, score_completions
from textgym.rewards import Clip, EndsSentence, Keywords, WeightedSum, as_reward, build_reward, reward_to_data
from textgym.rewards.places import absolute_places
from textgym.task import TextTask


def exclaims(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(text.endswith("!")) for text in completions]


def make_shorter_than(limit: int) -> Any:
    """A factory, as `trl.rewards` has some."""

    def shorter(completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(len(text) < limit) for text in completions]

    return shorter


MODULE = "tests.rewards.test_plain_data"


@pytest.mark.parametrize(
    "spec",
    [
        "[{keywords: {words: [海, sea]}, weight: 2}, ends_sentence, {constant: -1}]",
        [{"keywords": {"words": ["海", "sea"]}, "weight": 2}, "ends_sentence", {"constant": -1}],
        [2 * Keywords(["海", "sea"]), EndsSentence(), {"constant": -1}],
        2 * Keywords(["海", "sea"]) + EndsSentence() - 1,
    ],
)
def test_a_sum_is_the_same_in_python_in_yaml_and_in_a_line(spec: Any) -> None:
    assert resolve_reward(spec) == 2 * Keywords(["海", "sea"]) + EndsSentence() - 1
    assert TextTask(reward=spec).reward == resolve_reward(spec)


def test_wrappers_take_whatever_names_a_reward() -> None:
    expected = Clip(as_reward(exclaims), 0, 0.5)
    assert Clip(f"{MODULE}:exclaims", 0, 0.5) == expected
    assert build_reward(f"{{clip: {{reward: '{MODULE}:exclaims', low: 0, high: 0.5}}}}") == expected
    assert as_reward("ends_sentence") == EndsSentence()
    assert WeightedSum([(2, "ends_sentence")]) == 2 * EndsSentence()


def test_a_function_that_gets_arguments_makes_the_reward() -> None:
    reward = build_reward({f"{MODULE}:make_shorter_than": {"limit": 3}})
    assert reward(completions=["ab", "abc"]) == [1.0, 0.0]


def test_a_name_can_be_given_to_a_functions_term() -> None:
    reward = build_reward({"named": {"function": f"{MODULE}:exclaims", "name": "loud"}})
    assert reward == as_reward(exclaims, name="loud")
    assert score_completions(reward, ["a"], ["b!"], {}, [[1]]).terms == {"loud": [1.0]}


def test_what_has_a_name_is_written_by_it() -> None:
    assert reward_to_data(textgym.rewards.reference_task) == "reference_task"
    assert reward_to_data(EndsSentence()) == "ends_sentence"
    assert reward_to_data(exclaims) == f"{MODULE}:exclaims"
    assert reward_to_data(0.5 * EndsSentence() - as_reward(exclaims)) == [
        {"ends_sentence": None, "weight": 0.5},
        {f"{MODULE}:exclaims": None, "weight": -1.0},
    ]


def test_a_reward_model_is_written_as_its_folder_and_unsaved_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from textgym.rewards.learned import RidgeRewardModel, read_feedback

    rows = [{"completion": text, "rating": rating} for text, rating in (("a joy", 5), ("a bore", 1), ("so so", 3))]
    model = RidgeRewardModel().fit(read_feedback(rows))
    with pytest.raises(ValueError, match="is saved nowhere; save it, for what it has learned to be found again"):
        reward_to_data(2 * model)
    model.save(tmp_path / "mine")
    data = reward_to_data(2 * model - Clip(model, 0, 1))
    assert data[0] == {str(tmp_path / "mine"): None, "weight": 2.0}
    texts = (["The film"] * 2, [" was a joy", " was a bore"])
    assert score_completions(build_reward(data), *texts, {}, [[1]] * 2).scores == pytest.approx(
        score_completions(2 * model - Clip(model, 0, 1), *texts, {}, [[1]] * 2).scores
    )
    for spec in (tmp_path / "mine", [tmp_path / "mine", "ends_sentence"]):
        assert build_reward(spec)(*texts)


def test_a_name_goes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_sentence").mkdir()
    (tmp_path / "ends_sentence/reward_model.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert build_reward("ends_sentence") == EndsSentence()


def test_folders_of_models_are_named_from_the_root_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rm").mkdir()
    (tmp_path / "ends_sentence").mkdir()
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path / "rm")
    spec = [
        "ends_sentence",
        {"rm": None, "weight": 0.5},
        {"clip": {"reward": "rm", "low": 0, "high": 1}},
        {"gate": {"reward": {"keywords": {"words": ["rm"]}}, "condition": [Path("rm"), {"constant": 1}]}},
        {"sequence_classifier": {"model": "rm"}},
        {"perplexity": {"model": "bundled"}},
        {"constant": 1.0},
    ]
    expected = [
        "ends_sentence",
        {here: None, "weight": 0.5},
        {"clip": {"reward": here, "low": 0, "high": 1}},
        {"gate": {"reward": {"keywords": {"words": ["rm"]}}, "condition": [here, {"constant": 1}]}},
        {"sequence_classifier": {"model": here}},
        {"perplexity": {"model": "bundled"}},
        {"constant": 1.0},
    ]
    assert absolute_places(spec) == expected
    assert absolute_places("[{rm: , weight: 2}, ends_sentence]") == [{here: None, "weight": 2}, "ends_sentence"]
    for same in ("[{rm2: , weight: 2}]", "[{broken", "http://127.0.0.1/rm", exclaims):
        assert absolute_places(same) is same


def test_what_cannot_be_found_again_is_not_written() -> None:
    def inner(completions: Sequence[str], **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(ValueError, match="has no name that it can be found again by; register it by register_reward"):
        reward_to_data(as_reward(inner))


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        ("[{keywords: ", "The reward '[{keywords: ' is not YAML: "),
        (
            "{keywords: {word: [a]}}",
            "Reward 'keywords' has no argument 'word'. Did you mean 'words'? It takes words, name.",
        ),
    ],
)
def test_a_line_that_is_not_well_formed_is_refused(spec: str, start: str) -> None:
    with pytest.raises(ValueError, match="keywords") as caught:
        resolve_reward(spec)
    assert str(caught.value).startswith(start)
