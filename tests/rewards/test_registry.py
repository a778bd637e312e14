"""Names of rewards, and rewards from plain data."""

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import textgym.rewards
from textgym.reward_protocol import resolve_reward, score_completions
from textgym.rewards import (
    BannedWords,
    Keywords,
    LengthWindow,
    RewardFunction,
    WeightedSum,
    build_reward,
    find_reward,
    register_reward,
    reward_names,
)

SOURCE = """
from textgym.rewards import RewardFunction

def exclaims(prompts, completions, **columns):
    return [float(completion.endswith("!")) for completion in completions]

class Scaled(RewardFunction):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def __call__(self, prompts, completions, **columns):
        return [self.factor * len(completion) for completion in completions]

class Rules:
    ready = Scaled(2)

number = 3
"""


@pytest.fixture
def their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of somebody's own on the path, whose distribution has an entry point for one reward."""
    (tmp_path / "their_rewards.py").write_text(SOURCE)
    (tmp_path / "needs_more.py").write_text("import a_module_that_is_not_there\n")
    information = tmp_path / "theirs-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[textgym.rewards]\ntheir_scaled = their_rewards:Scaled\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "their_rewards"
    sys.modules.pop("their_rewards", None)


@pytest.fixture
def forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what a test registers."""
    registry = sys.modules["textgym.rewards.registry"]
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_the_built_in_names_are_known() -> None:
    assert {"banned_words", "keywords", "length_window", "reference_task"} <= set(reward_names())
    assert find_reward("keywords") is Keywords
    assert resolve_reward("reference_task") is textgym.rewards.reference_task
    assert resolve_reward("textgym.rewards:reference_task") is textgym.rewards.reference_task


@pytest.mark.usefixtures("forget_registrations")
def test_functions_classes_and_objects_can_be_registered() -> None:
    @register_reward("shouts")
    def shouts(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
        return [float(completion.isupper()) for completion in completions]

    @register_reward("silence")
    class Silence(RewardFunction):
        def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
            return [float(not completion) for completion in completions]

    register_reward("about_cats")(Keywords(["cat"]))
    register_reward("about_cats")(Keywords(["cat"]))  # as when a module is loaded again

    assert {"shouts", "silence", "about_cats"} <= set(reward_names())
    assert resolve_reward("shouts") is shouts
    assert resolve_reward("silence") == Silence()
    assert resolve_reward("about_cats") == Keywords(["cat"])


@pytest.mark.usefixtures("forget_registrations")
def test_a_name_that_is_taken_or_reserved_is_refused() -> None:
    with pytest.raises(ValueError, match="taken") as caught:
        register_reward("keywords")(Keywords(["cat"]))
    taken = "The reward name 'keywords' is taken by <class 'textgym.rewards.keywords.Keywords'>. Choose another."
    assert str(caught.value) == taken
    for name in ("", "weight", "constant", "a:b"):
        with pytest.raises(ValueError, match="must have no") as caught:
            register_reward(name)
        assert str(caught.value) == (
            f'A reward\'s name must have no ":" and be none of "", "weight", "constant"; got {name!r}.'
        )


def test_rewards_of_other_modules_are_found_by_path_and_by_entry_point(their_module: str) -> None:
    exclaims = resolve_reward(f"{their_module}:exclaims")
    assert score_completions(exclaims, ["a"], ["b!"], {}, [[1]]).terms == {"exclaims": [1.0]}
    assert "their_scaled" in reward_names()
    assert build_reward({"their_scaled": {"factor": 3}})(prompts=["a"], completions=["bb"]) == [6]
    assert build_reward({f"{their_module}:Scaled": {"factor": 3}})(prompts=["a"], completions=["bb"]) == [6]
    assert resolve_reward(f"{their_module}:Rules.ready")(prompts=["a"], completions=["bb"]) == [4]


def test_an_entry_point_whose_name_leads_elsewhere_is_warned_of(their_module: str, tmp_path: Path) -> None:
    entry_points = tmp_path / "theirs-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[textgym.rewards]\nkeywords = their_rewards:Scaled\n")
    message = (
        "The reward name 'keywords' stands for the one in textgym.rewards.keywords; that of the package theirs is "
        "'their_rewards:Scaled'."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        assert find_reward("keywords") is Keywords


def test_of_two_packages_with_one_name_the_first_by_path_has_it_and_the_other_is_warned_of(
    their_module: str, tmp_path: Path
) -> None:
    others = tmp_path / "others-1.0.dist-info"
    others.mkdir()
    (others / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (others / "entry_points.txt").write_text("[textgym.rewards]\ntheir_scaled = their_rewards:exclaims\n")
    message = (
        "The reward name 'their_scaled' stands for the one in their_rewards:Scaled; that of the package others is "
        "'their_rewards:exclaims'."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        assert find_reward("their_scaled").__name__ == "Scaled"


@pytest.mark.usefixtures("forget_registrations")
def test_a_package_may_register_what_its_entry_point_names(their_module: str, tmp_path: Path) -> None:
    with (tmp_path / "their_rewards.py").open("a") as file:
        file.write('from textgym.rewards import register_reward\nregister_reward("their_scaled")(Scaled)\n')
    assert find_reward("their_scaled") is find_reward("their_scaled")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("keyword", "Unknown reward 'keyword'. Did you mean 'keywords'? `textgym rewards` lists all names; "),
        (
            "xyz",
            (
                "Unknown reward 'xyz'. `textgym rewards` lists all names; a reward of your own is given as "
                '"module:attribute", a model as its folder or "owner/name", a reward server as its URL.'
            ),
        ),
        (
            "textgym.rewards:reference_tsk",
            "Reward 'textgym.rewards:reference_tsk': there is no 'reference_tsk'. Did you mean 'reference_task'?",
        ),
        (
            "my_rewrds:f",
            "Reward 'my_rewrds:f': there is no module 'my_rewrds'. Install it, or run from the folder that it is in.",
        ),
        ("their_rewards:", "A reward must be given as \"module:attribute\", got 'their_rewards:'."),
        ("their_rewards:number", "Reward 'their_rewards:number' is not callable: it is 3 of type int."),
        (
            "their_rewards:Scaled",
            (
                "Reward 'their_rewards:Scaled' is made of factor: missing a required argument: 'factor'. "
                "Give them as in {their_rewards:Scaled: {factor: ...}}."
            ),
        ),
    ],
)
@pytest.mark.usefixtures("their_module")
def test_an_unknown_name_gives_the_nearest_match(name: str, start: str) -> None:
    with pytest.raises(ValueError, match=name[:5]) as caught:
        resolve_reward(name)
    assert str(caught.value).startswith(start)


@pytest.mark.usefixtures("their_module")
def test_a_module_that_is_there_but_cannot_be_imported_says_why() -> None:
    message = (
        r"cannot be imported: .*needs_more.py, line 1: ModuleNotFoundError: No module named 'a_module_that_is_not_"
    )
    with pytest.raises(ValueError, match=message) as raised:
        resolve_reward("needs_more:f")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_plain_data_gives_the_composition_that_it_describes(their_module: str) -> None:
    spec = yaml.safe_load(f"""
    - keywords: {{words: [Python, 机器学习]}}
      weight: 0.5
    - banned_words:
        words: [war]
      weight: -0.25
    - constant: 0.25
    - length_window: {{minimum: 20, maximum: 60, unit: words, name: size}}
    - {their_module}:exclaims:
      weight: 2
    - reference_task
    """)
    expected = (
        0.5 * Keywords(["Python", "机器学习"])
        - 0.25 * BannedWords(["war"])
        + 0.25
        + LengthWindow(20, 60, unit="words", name="size")
        + 2 * textgym.rewards.as_reward(importlib.import_module(their_module).exclaims)
        + textgym.rewards.reference_task
    )
    assert build_reward(spec) == expected
    assert resolve_reward(spec) == expected


def test_a_single_mapping_is_one_reward() -> None:
    assert build_reward({"keywords": {"words": ["a"]}}) == Keywords(["a"])
    assert build_reward({"keywords": {"words": ["a"]}, "weight": 2}) == 2 * Keywords(["a"])
    assert isinstance(build_reward([{"keywords": {"words": ["a"]}}]), WeightedSum)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (3, TypeError, "A reward must be given as an object, a name, a mapping or a list, got 3 of type int."),
        ([], ValueError, "A list of rewards must have at least one term, got []."),
        ([{"constant": 1}], ValueError, "A list of rewards must have at least one term, got [{'constant': 1}]."),
        ({"constant": 1}, ValueError, "A reward must have a term besides its constant, got {'constant': 1}."),
        (
            {},
            ValueError,
            (
                "Each mapping must have the name of one reward, with its arguments, and at most a weight besides; "
                "got the keys none."
            ),
        ),
        (
            {"keywords": None, "banned_words": None},
            ValueError,
            (
                "Each mapping must have the name of one reward, with its arguments, and at most a weight besides; "
                "got the keys 'keywords', 'banned_words'."
            ),
        ),
        (
            [{"reference_task": None, "constant": 1}],
            ValueError,
            (
                "Each mapping must have the name of one reward, with its arguments, and at most a weight besides; "
                "got the keys 'reference_task', 'constant'."
            ),
        ),
        ({3: None}, TypeError, "The name of a reward must be a text, got 3 of type int."),
        (
            {"reference_task": None, "weight": "big"},
            TypeError,
            "weight must be a number, got 'big' of type str.",
        ),
        ([{"constant": None}], TypeError, "constant must be a number, got None."),
        (
            {"keywords": ["a"]},
            ValueError,
            (
                "The arguments of reward 'keywords' must be a mapping of names, such as {words: [Python]} of "
                "keywords, got ['a'] of type list."
            ),
        ),
        (
            {"reward": "my:own", "weight": 2},
            ValueError,
            (
                "The arguments of reward 'reward' must be a mapping of names, such as {words: [Python]} of "
                "keywords, got 'my:own' of type str. A reward is a key itself: {'my:own': null, weight: 2}."
            ),
        ),
        (
            {"reference_task": {"words": ["a"]}},
            ValueError,
            "Reward 'reference_task' is no class and takes no arguments, got 'words'.",
        ),
        (
            {"keywords": {"word": ["a"]}},
            ValueError,
            "Reward 'keywords' has no argument 'word'. Did you mean 'words'? It takes words, name.",
        ),
    ],
)
def test_plain_data_that_describes_no_reward_is_refused(spec: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        build_reward(spec)
    assert str(caught.value) == message


def test_a_function_that_makes_a_reward_says_that_it_needs_its_arguments() -> None:
    with pytest.raises(TypeError) as caught:
        build_reward("named")
    message = str(caught.value)
    assert message.startswith("Reward 'as_reward' must take (prompts, completions, **columns), but its signature is (")
    assert message.endswith("If it makes a reward, give its arguments, as in {named: {function: ...}}.")


def test_an_object_without_a_print_of_its_own_is_printed_without_its_address() -> None:
    class Silent:
        def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
            return [0.0] * len(completions)

    assert repr(textgym.rewards.as_reward(Silent())).endswith("Silent(…))")
    assert " at 0x" not in repr(textgym.rewards.as_reward(Silent()))


@pytest.mark.parametrize("text", ["2 * ends_sentence", "ends_sentence + readability", "ends_sentence - 1"])
def test_a_sum_as_a_text_is_told_how_it_is_written(text: str) -> None:
    message = (
        f"Unknown reward {text!r}: as a text a reward is one name. Reward objects in Python are added so; anywhere "
        "else a sum is a list, such as [{ends_sentence: , weight: 2}, readability, {constant: -1}]."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        resolve_reward(text)
    assert callable(resolve_reward(yaml.safe_load("[{ends_sentence: , weight: 2}, readability, {constant: -1}]")))


def test_a_module_is_named_without_its_ending() -> None:
    with pytest.raises(ValueError, match=r"A module is named without its \.py: my_rewards:exclaims$"):
        resolve_reward("my_rewards.py:exclaims")
