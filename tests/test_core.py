"""The state machine: appending, ending, forbidden tokens, rewards, the prompts' order, and failing without a trace."""

import pickle
import re
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from tests.fakes import (
    EOS_TOKEN_ID,
    PayEachStep,
    RightAnswer,
    byte_tokenizer,
    core_state,
    count_a,
    fail,
    score_each_token,
    tokens,
)
from textgym.contexts import as_numpy
from textgym.core import StepResult, TextCore
from textgym.reward_protocol import RewardError
from textgym.rewards import PotentialShaping
from textgym.stop_strings import tokens_that_may_stop
from textgym.task import TextTask


@pytest.fixture(autouse=True, params=[np, torch], ids=["numpy", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with numpy, which cores on the CPU use, and with torch, which those on other devices use."""
    monkeypatch.setattr("textgym.contexts.array_library", lambda _device: request.param)


def make_core(num_envs: int = 1, **arguments: Any) -> TextCore:
    defaults = {
        "tokenizer": byte_tokenizer(),
        "prompts": ["one", "seven"],
        "reward": count_a,
        "max_prompt_tokens": 6,
        "max_new_tokens": 5,
        "prompt_order": "sequential",
    }
    return TextCore(TextTask(**{**defaults, **arguments}), num_envs)


def step(core: TextCore, *actions: int) -> StepResult:
    return core.step(core.contexts.array(list(actions)))


def write(core: TextCore, text: str) -> StepResult:
    """Append a text to the only row and return the last step's result."""
    for token in tokens(text):
        result = step(core, token)
    return result


def test_an_observation_is_prompt_then_generated_tokens_then_padding() -> None:
    core = make_core(2)
    core.begin()
    step(core, *tokens("ab"))
    observation = core.observation()
    pad = core.task.pad_token_id
    assert observation["input_ids"].tolist() == [
        [*tokens("one"), *tokens("a"), *[pad] * 7],
        [*tokens("seven"), *tokens("b"), *[pad] * 5],
    ]
    assert observation["attention_mask"].tolist() == [[1] * 4 + [0] * 7, [1] * 6 + [0] * 5]
    assert observation["is_generated"].tolist() == [[0] * 3 + [1] + [0] * 7, [0] * 5 + [1] + [0] * 5]
    assert [as_numpy(value).dtype for value in observation.values()] == [np.int64, np.int8, np.int8]


def test_observations_share_no_memory_with_each_other_or_with_the_core_state() -> None:
    core = make_core()
    core.begin()
    first, second = core.observation(), core.observation()
    for key, value in first.items():
        value[:] = 0
        assert second[key].any() or key == "is_generated"
    assert core.texts([0]) == [("one", "")]


@pytest.mark.parametrize(
    ("text", "ends", "reason", "completion", "n_tokens"),
    [
        ("aaaaa", False, "length", "aaaaa", 5),
        ("aa", True, "eos", "aa", 3),
        ("aaaa", True, "eos", "aaaa", 5),
        ("", True, "eos", "", 1),
        ("a..", False, "stop", "a", 3),
        ("aaa..", False, "stop", "aaa", 5),
    ],
)
def test_an_episode_ends_by_end_token_or_stop_string_or_budget(
    text: str, ends: bool, reason: str, completion: str, n_tokens: int
) -> None:
    core = make_core(stop="..")
    core.begin()
    if text:
        result = write(core, text)
    if ends:
        result = step(core, EOS_TOKEN_ID)
    score = float(completion.count("a"))
    assert result.is_over.tolist() == [True]
    assert result.rewards.tolist() == [score]
    assert result.endings == {
        0: {
            "prompt": "one",
            "completion": completion,
            "finish_reason": reason,
            "n_tokens": n_tokens,
            "score": score,
            "reward/count_a": score,
        }
    }


def test_a_forbidden_token_leaves_the_text_as_it_is_and_costs_one_token_of_the_budget() -> None:
    core = make_core(banned_token_ids=tokens("x"), min_new_tokens=1)
    core.begin()
    for forbidden in (*tokens("x"), EOS_TOKEN_ID):
        result = step(core, forbidden)
        assert result.is_forbidden.tolist() == [True]
        assert result.is_over.tolist() == [False]
    assert write(core, "a").is_forbidden.tolist() == [False]
    observation = core.observation()
    assert core.texts([0]) == [("one", "a")]
    assert observation["attention_mask"].sum() == 4
    assert observation["is_generated"].tolist() == [[0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]]
    write(core, "b")
    ending = step(core, *tokens("x")).endings[0]
    assert (ending["completion"], ending["finish_reason"], ending["n_tokens"]) == ("ab", "length", 2)
    assert ending["forbidden_action"] is True


def test_an_episode_of_nothing_but_forbidden_tokens_is_an_empty_completion() -> None:
    core = make_core(banned_token_ids=tokens("x"))
    core.begin()
    ending = write(core, "xxxxx").endings[0]
    assert (ending["completion"], ending["finish_reason"], ending["n_tokens"], ending["score"]) == ("", "length", 0, 0)


def test_masks_allow_the_end_only_after_min_new_tokens_generated() -> None:
    core = make_core(banned_token_ids=tokens("x"), min_new_tokens=2)
    core.begin()
    banned = tokens("x")[0]
    for text, n_allowed in (("a", 255), ("x", 255), ("a", 256)):
        mask = core.action_masks()
        assert mask.shape == (1, 257)
        assert not mask[0, banned]
        write(core, text)
        assert core.action_masks()[0].sum() == n_allowed


def test_a_stop_string_may_span_tokens_and_end_in_part_of_a_character() -> None:
    core = make_core(stop=["停。"], max_new_tokens=12)
    core.begin()
    bytes_of_text = tokens("a停。")
    results = [step(core, token) for token in bytes_of_text]
    assert [bool(result.is_over[0]) for result in results] == [False] * 6 + [True]
    assert results[-1].endings[0]["completion"] == "a"


def test_only_tokens_that_may_complete_a_stop_string_are_looked_at() -> None:
    task = make_core(stop=["ab", "\n"]).task
    may_stop = task.may_stop
    assert {token for token in range(256) if may_stop[token]} >= {*tokens("b"), *tokens("\n")}
    assert not may_stop[tokens("ac")].any()
    assert may_stop[tokens("é")].all(), "part of a character may be part of any"


def test_a_stop_string_may_end_in_a_character_whose_bytes_decode_to_nothing_one_by_one() -> None:
    core = make_core(tokenizer=ByT5Tokenizer(), stop=["。"], max_new_tokens=12)
    core.begin()
    bytes_of_text = core.task.tokenizer("好。a", add_special_tokens=False)["input_ids"]
    results = [step(core, token) for token in bytes_of_text[:-1]]
    assert [bool(result.is_over[0]) for result in results] == [False] * 5 + [True]
    assert results[-1].endings[0]["completion"] == "好"


def test_the_vocabulary_is_read_for_stop_strings_once_however_many_rows_share_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_read = []

    def counted(*arguments: Any) -> torch.Tensor:
        n_read.append(1)
        return tokens_that_may_stop(*arguments)

    monkeypatch.setattr("textgym.task.tokens_that_may_stop", counted)
    task = make_core(stop=["ab"]).task
    TextCore(task)
    TextCore(task, 3)
    assert len(n_read) == 1


def test_numbers_between_a_tokenizers_ids_are_forbidden() -> None:
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 5, "</s>": 7, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")
    core = make_core(tokenizer=tokenizer, prompts=["a b"], allowed_token_ids=[0, 5, 7])
    core.begin()
    assert core.task.vocab_size == 8
    assert core.action_masks()[0].nonzero().flatten().tolist() == [0, 5, 7]
    assert bool(step(core, 1).is_forbidden[0])
    step(core, 5)
    assert step(core, 7).endings[0]["completion"].strip() == "b"
    with pytest.raises(ValueError, match=r"^allowed_token_ids has 1, which is no token of the tokenizer\.$"):
        make_core(tokenizer=tokenizer, prompts=["a b"], allowed_token_ids=[0, 1])


def test_token_rewards_are_paid_as_their_sum_at_the_last_step() -> None:
    core = make_core(reward=score_each_token)
    core.begin()
    assert write(core, "ab").rewards.tolist() == [0.0]
    result = step(core, EOS_TOKEN_ID)
    assert result.rewards.tolist() == [1.5]
    assert result.endings[0]["score"] == 1.5
    assert result.endings[0]["token_rewards"] == [0.5, 1.0, 0.0]


def test_token_rewards_of_a_completion_without_tokens_are_empty() -> None:
    core = make_core(reward=score_each_token, banned_token_ids=tokens("x"))
    core.begin()
    ending = write(core, "xxxxx").endings[0]
    assert (ending["score"], ending["token_rewards"]) == (0.0, [])


def test_a_step_reward_pays_for_the_text_so_far_but_not_for_a_forbidden_token() -> None:
    core = make_core(reward=PayEachStep(), banned_token_ids=tokens("x"))
    core.begin()
    rewards = [float(write(core, character).rewards[0]) for character in "abx"]
    rewards.append(float(step(core, EOS_TOKEN_ID).rewards[0]))
    assert rewards == [0.25, 0.5, 0.0, 1.5]


def test_a_whole_completion_is_paid_what_its_steps_are_paid() -> None:
    actions = [*tokens("axb"), EOS_TOKEN_ID, *tokens("a")]
    stepped = make_core(reward=PayEachStep(), banned_token_ids=tokens("x"))
    stepped.begin()
    total = sum(float(step(stepped, action).rewards[0]) for action in actions[:4])
    played = make_core(reward=PayEachStep(), banned_token_ids=tokens("x"))
    played.begin()
    result = played.play(played.contexts.array([actions]))
    assert float(result.rewards[0]) == total
    assert result.endings == {0: {**(stepped.ending(0) or {}), "forbidden_action": True}}
    assert core_state(stepped)["observation"] == core_state(played)["observation"]


def test_a_term_that_does_not_apply_is_absent() -> None:
    prompts = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "x", "answer": None}]
    core = make_core(2, prompts=prompts, reward=RightAnswer())
    core.begin()
    step(core, *tokens("22"))
    endings = step(core, EOS_TOKEN_ID, EOS_TOKEN_ID).endings
    assert endings[0]["reward/right_answer"] == 1.0
    assert "reward/right_answer" not in endings[1]
    assert endings[1]["score"] == 0.0


def test_the_reward_is_called_once_for_all_rows_that_end_in_row_order() -> None:
    batches = []

    def record(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        batches.append(list(zip(prompts, completions, strict=True)))
        return [0.0] * len(prompts)

    core = make_core(3, prompts=["p", "q", "r"], reward=record)
    core.begin()
    step(core, *tokens("abc"))
    step(core, EOS_TOKEN_ID, *tokens("b"), EOS_TOKEN_ID)
    assert batches == [[("p", "a"), ("r", "c")]]


def test_rows_that_are_not_playing_are_left_alone() -> None:
    core = make_core(2)
    core.begin()
    step(core, EOS_TOKEN_ID, *tokens("a"))
    before = core.observation()
    result = core.step(core.contexts.array(tokens("zb")), ~core.is_over)
    after = core.observation()
    assert result.rewards.tolist() == [0.0, 0.0]
    assert all(before[key][0].tolist() == after[key][0].tolist() for key in before)
    assert [completion for _, completion in core.texts([0, 1])] == ["", "ab"]


@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_step_before_begin_and_a_step_after_the_end_are_refused(num_envs: int) -> None:
    core = make_core(num_envs)
    actions = [EOS_TOKEN_ID] * num_envs
    with pytest.raises(ResetNeeded, match=r"^There is no episode yet; call reset\(\) first\.$"):
        step(core, *actions)
    core.begin()
    step(core, *actions)
    before = core_state(core)
    with pytest.raises(ResetNeeded) as error:
        step(core, *actions)
    assert core_state(core) == before
    assert (
        str(error.value)
        == {
            1: "The episode has ended; call reset() before the next step().",
            3: "The episodes of rows [0, 1, 2] have ended; begin new ones by reset(options={'reset_mask': ...}) before "
            "the next step().",
        }[num_envs]
    )


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "raises"),
        ([1.0, 2.0], "wrong number"),
        ([float("nan")], "not finite"),
        ([float("inf")], "not finite"),
        (["good"], "no number"),
    ],
)
def test_a_reward_that_fails_shows_prompt_and_completion_and_changes_nothing(
    returned: list[Any] | None, problem: str
) -> None:
    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[Any]:
        if returned is None:
            raise RuntimeError(problem)
        return returned

    core = make_core(reward=reward, prompt_order="random")
    core.schedule.seed(0)
    core.begin()
    write(core, "ab")
    before = core_state(core)
    with pytest.raises(RewardError) as error:
        step(core, EOS_TOKEN_ID)
    assert error.value.prompt in ("one", "seven")
    assert error.value.completion == "ab"
    assert "'ab'" in str(error.value)
    assert core_state(core) == before
    write(core, "a")
    assert core.texts([0])[0][1] == "aba"


def test_a_step_reward_that_fails_changes_nothing() -> None:
    class FailsLate(PayEachStep):
        def prefix_rewards(self, prompts: list[str], prefixes: list[str], **columns: object) -> list[float]:
            return [float("nan") if len(prefix) > 1 else 0.0 for prefix in prefixes]

    core = make_core(reward=FailsLate())
    core.begin()
    write(core, "a")
    before = core_state(core)
    with pytest.raises(RewardError):
        write(core, "b")
    assert core_state(core) == before


def test_sequential_order_deals_the_prompts_to_the_rows_in_turn() -> None:
    core = make_core(2, prompts=["a", "b", "c"])
    dealt = []
    for _ in range(4):
        core.begin()
        dealt.append([prompt for prompt, _ in core.texts([0, 1])])
    assert dealt == [["a", "b"], ["c", "a"], ["b", "c"], ["a", "b"]]


def test_a_seed_begins_the_order_of_prompts_anew() -> None:
    core = make_core(prompts=["a", "b", "c"])
    core.begin()
    core.begin()
    core.schedule.seed(5)
    core.begin()
    assert core.texts([0]) == [("a", "")]


def prompts_of_episodes(core: TextCore, n_episodes: int) -> list[list[int]]:
    rounds = []
    for _ in range(n_episodes):
        core.begin()
        rounds.append(core.schedule.current.tolist())
    return rounds


def test_row_i_draws_as_a_single_row_seeded_seed_plus_i() -> None:
    texts = [str(number) for number in range(50)]
    core = make_core(3, prompts=texts, prompt_order="random")
    core.schedule.seed(7)
    rounds = prompts_of_episodes(core, 150)
    for row in range(3):
        single = make_core(prompts=texts, prompt_order="random")
        single.schedule.seed(7 + row)
        assert prompts_of_episodes(single, 150) == [[each[row]] for each in rounds]


def test_prompts_drawn_together_are_those_drawn_one_by_one() -> None:
    """Rows beside others draw several prompts at a time, a single row and agents one."""
    task = make_core(prompts=[str(number) for number in range(50)]).task
    together, one_by_one = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [*task.prompt_indices(together, 7), *task.prompt_indices(together, 16)]
    assert drawn == [task.prompt_indices(one_by_one, 1)[0] for _ in range(23)]
    assert together.bit_generator.state == one_by_one.bit_generator.state


def test_a_seed_begins_anew_what_was_drawn_ahead() -> None:
    core = make_core(2, prompts=[str(number) for number in range(50)], prompt_order="random")
    core.schedule.seed(7)
    first = prompts_of_episodes(core, 3)
    core.schedule.seed(7)
    assert prompts_of_episodes(core, 80)[:3] == first


def test_a_single_row_leaves_its_generator_as_after_one_draw_an_episode() -> None:
    """It is the environment's own, from which others may draw."""
    core = make_core(prompts=[str(number) for number in range(50)], prompt_order="random")
    core.schedule.seed(7)
    core.begin()
    generator = np.random.default_rng(7)
    core.task.prompt_indices(generator, 1)
    assert core.schedule.generators[0] is not None
    assert core.schedule.generators[0].bit_generator.state == generator.bit_generator.state


def test_endings_that_came_in_different_steps_are_kept_until_their_rows_begin_anew() -> None:
    core = make_core(3)
    core.begin()
    first = step(core, EOS_TOKEN_ID, *tokens("ab")).endings
    second = core.step(core.contexts.array([0, EOS_TOKEN_ID, 0]), ~core.is_over).endings
    assert list(first) == [0]
    assert list(second) == [1]
    assert 2 not in second
    assert [core.ending(row) for row in range(3)] == [first[0], second[1], None]
    assert core.has_ended_rows
    core.begin([0])
    assert [core.ending(row) for row in range(3)] == [None, second[1], None]
    core.begin([1])
    assert not core.has_ended_rows


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("order", ["random", "sequential"])
def test_rows_of_a_group_get_the_same_prompts_whatever_their_episodes_length(order: str, seed: int | None) -> None:
    texts = [str(number) for number in range(50)]
    core = make_core(4, prompts=texts, prompt_order=order, completions_per_prompt=2)
    core.schedule.seed(seed)
    core.begin()
    history: list[list[int]] = [[int(index)] for index in core.schedule.current]
    for rows in ([0], [0, 2], [1, 3], [1, 2], [3]):
        core.begin(rows)
        for row in rows:
            history[row].append(int(core.schedule.current[row]))
    assert history[0] == history[1]
    assert history[2][:3] == history[3][:3]
    assert history[0] != history[2][:3]
    if order == "sequential":
        assert history == [[0, 2, 4], [0, 2, 4], [1, 3, 5], [1, 3, 5]]


def test_a_single_row_gets_each_prompt_once_for_each_of_its_group() -> None:
    core = make_core(prompts=["a", "b", "c"], completions_per_prompt=2)
    assert prompts_of_episodes(core, 5) == [[0], [0], [1], [1], [2]]


@pytest.mark.parametrize(
    ("num_envs", "error", "message"),
    [
        (0, ValueError, "num_envs must be at least 1, got 0."),
        (1.5, TypeError, "num_envs must be an integer, got 1.5."),
        (True, TypeError, "num_envs must be an integer, got True."),
        (3, ValueError, "num_envs must be 1 or a multiple of completions_per_prompt (2), got 3."),
    ],
)
def test_a_wrong_number_of_rows_is_refused(num_envs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make_core(num_envs, completions_per_prompt=2)
    assert str(raised.value) == message


def test_budgets_beyond_the_models_context_are_refused() -> None:
    message = (
        "max_prompt_tokens + max_new_tokens is 257, beyond the 256 tokens that the tokenizer's model reads "
        "(tokenizer.model_max_length); lower one of them."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TextTask(max_prompt_tokens=24, max_new_tokens=233)
    assert TextTask(max_prompt_tokens=24, max_new_tokens=232).max_new_tokens == 232


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stop": 3}, "stop must be a string or a list of strings, got 3."),
        ({"tokenizer": 3}, "expected a tokenizer, a folder or a name, got 3 of type int."),
    ],
)
def test_arguments_of_another_type_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        TextTask(**arguments)


@pytest.mark.parametrize("name", ["banned_token_ids", "allowed_token_ids"])
def test_one_token_id_instead_of_a_list_is_refused(name: str) -> None:
    arguments: dict[str, Any] = {name: 5}
    with pytest.raises(TypeError, match=rf"^{name} must be a list of integers, got 5\.$"):
        TextTask(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"allowed_token_ids": []}, "allowed_token_ids is empty, which allows no token; None allows all of them."),
        (
            {"allowed_token_ids": [5], "banned_token_ids": [5]},
            (
                "No token would be allowed: banned_token_ids and allowed_token_ids leave nothing to choose from; "
                "allow at least one token besides the end-of-sequence token."
            ),
        ),
    ],
)
def test_rules_that_allow_no_token_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TextTask(**arguments)


def test_a_list_of_seeds_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^A list of seeds must hold one for each of 2 rows, got 1\.$"):
        make_core(2).schedule.seed([1])


def test_a_core_pickles_and_goes_on_where_it_was() -> None:
    core = make_core(2, prompt_order="random", stop="..")
    core.schedule.seed(1)
    core.begin()
    step(core, *tokens("ab"))
    twin = pickle.loads(pickle.dumps(core))
    for each in (core, twin):
        step(each, EOS_TOKEN_ID, *tokens("."))
        each.begin([0])
        step(each, *tokens("a."))
    assert core_state(twin) == core_state(core)


ALL_RULES: dict[str, Any] = {"min_new_tokens": 2, "stop": ["..", "ab"], "banned_token_ids": tokens("x")}


@pytest.mark.parametrize(
    "arguments",
    [{}, ALL_RULES, {"reward": PayEachStep()}, {"reward": PotentialShaping(count_a), **ALL_RULES}],
    ids=["plain", "all rules", "step rewards", "shaped"],
)
def test_a_single_row_is_the_same_whether_plain_tokens_are_told_apart_or_not(arguments: dict[str, Any]) -> None:
    told_apart, all_alike = (make_core(max_new_tokens=9, prompt_order="random", **arguments) for _ in range(2))
    generator = np.random.default_rng(0)
    actions = generator.choice([*tokens("abcx."), EOS_TOKEN_ID], size=600, p=[0.2, 0.2, 0.3, 0.1, 0.1, 0.1]).tolist()
    n_plain = 0
    for core in (told_apart, all_alike):
        core.schedule.seed(0)
        core.begin()
    for action in actions:
        expected = step(all_alike, action)
        if told_apart.append_plain(action):
            n_plain += 1
            assert (expected.rewards.item(), expected.is_over.item(), expected.is_forbidden.item()) == (0, False, False)
        else:
            result = step(told_apart, action)
            assert [each.tolist() for each in result[:3]] == [each.tolist() for each in expected[:3]]
            assert result.endings == expected.endings
        assert core_state(told_apart) == core_state(all_alike)
        if expected.is_over.item():
            for core in (told_apart, all_alike):
                core.begin()
    assert (n_plain > 200) == ("reward" not in arguments)


def test_no_token_is_plain_before_begin_after_the_end_or_beside_other_rows() -> None:
    core = make_core()
    assert not core.append_plain(0)
    core.begin()
    step(core, EOS_TOKEN_ID)
    assert not core.append_plain(0)
    two = make_core(2)
    two.begin()
    assert not two.append_plain(0)


@pytest.mark.parametrize("n_before", [0, 1, 3])
def test_several_tokens_are_taken_back_where_the_reward_fails(n_before: int) -> None:
    core = make_core(2, reward=fail, banned_token_ids=tokens("x"), prompts=["p", "quite"])
    core.begin()
    for token in tokens("axb")[:n_before]:
        step(core, token, *tokens("a"))
    before = core_state(core)
    with pytest.raises(RewardError):
        core.play(core.contexts.array([[*tokens("axc"), EOS_TOKEN_ID, 0], [*tokens("xxxxx")]]))
    assert core_state(core) == before


def count_python_calls(function: Callable[[], object]) -> int:
    calls: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        calls[event] += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls["call"] + calls["c_call"]


@pytest.mark.parametrize("stop", [(), ("zz",)])
def test_a_step_in_which_nothing_ends_costs_the_same_python_work_for_any_number_of_rows(stop: tuple[str, ...]) -> None:
    calls = []
    for num_envs in (2, 200):
        core = make_core(num_envs, stop=stop, banned_token_ids=tokens("x"))
        core.begin()
        actions = core.contexts.array(tokens("ax") * (num_envs // 2))
        core.step(actions)
        calls.append(count_python_calls(lambda core=core, actions=actions: core.step(actions)))  # type: ignore[misc]
        calls.append(count_python_calls(core.observation))
    assert calls[:2] == calls[2:]
