"""Vector environments: equal to SyncVectorEnv over single ones, in each autoreset mode, and their own arguments."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

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
from textgym.completion import TextGenCompletionVectorEnv
from textgym.reward_protocol import RewardError
from textgym.vector import TextGenVectorEnv

IDS = ["TextGen-v0", "TextGenCompletion-v0"]
MODES = list(AutoresetMode)
TOKENS = np.array([*tokens("aabx."), EOS_TOKEN_ID])
TASKS: dict[str, dict[str, Any]] = {
    "all rules": {"min_new_tokens": 1, "stop": ["..", "ab"], "banned_token_ids": tokens("x")},
    "columns": {
        "prompts": [{"prompt": "1+1=", "answer": "2"}, {"prompt": "x", "answer": None}, {"prompt": "y", "answer": ""}],
        "reward": RightAnswer(),
    },
    "token rewards": {"reward": score_each_token},
    "step rewards": {"reward": PayEachStep(), "banned_token_ids": tokens("x")},
}


def small(**arguments: Any) -> dict[str, Any]:
    """Arguments of a small task over bytes."""
    defaults = {
        "tokenizer": byte_tokenizer(),
        "prompts": ["one", "seven", "x", "yz"],
        "reward": count_a,
        "max_prompt_tokens": 6,
        "max_new_tokens": 5,
    }
    return {**defaults, **arguments}


def random_actions(env: gymnasium.vector.VectorEnv[Any, Any, Any], generator: np.random.Generator) -> npt.NDArray[Any]:
    return generator.choice(TOKENS, size=env.action_space.shape)


def play(env: gymnasium.vector.VectorEnv[Any, Any, Any], n_steps: int) -> list[Any]:
    """Return all that an environment gives for actions that end, stop and go on, some of them forbidden."""
    generator = np.random.default_rng(1)
    record: list[Any] = [env.reset(seed=11)]
    for _ in range(n_steps):
        record.append(env.step(random_actions(env, generator)))
        is_over = record[-1][2]
        if env.metadata["autoreset_mode"] == AutoresetMode.DISABLED and is_over.any():
            record.append(env.reset(options={"reset_mask": is_over}))
    return record


@pytest.mark.parametrize("num_envs", [1, 3, 64])
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("env_id", IDS)
def test_it_gives_what_sync_vector_env_gives(env_id: str, mode: AutoresetMode, num_envs: int) -> None:
    arguments = small(**TASKS["all rules"])
    ours = gymnasium.make_vec(env_id, num_envs, autoreset_mode=mode, **arguments)
    theirs = gymnasium.make_vec(env_id, num_envs, "sync", {"autoreset_mode": mode}, **arguments)
    assert isinstance(ours, TextGenVectorEnv | TextGenCompletionVectorEnv)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.single_action_space == theirs.single_action_space
    records = play(ours, 25), play(theirs, 25)
    for step, (our_step, their_step) in enumerate(zip(*records, strict=True)):
        assert data_equivalence(our_step, their_step, exact=True), f"step {step}"
    if num_envs == 64:  # the actions reached every rule
        infos = [step[-1].get("final_info", step[-1]) for step in records[0][1:]]
        reasons = {reason for info in infos for reason in info.get("finish_reason", ())}
        assert reasons >= {"eos", "stop", "length"}
        assert any("forbidden_action" in info for info in infos)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_rewards_of_every_kind_come_as_from_sync_vector_env(mode: AutoresetMode, task: dict[str, Any]) -> None:
    ours = gymnasium.make_vec("TextGen-v0", 3, autoreset_mode=mode, **small(**task))
    theirs = gymnasium.make_vec("TextGen-v0", 3, "sync", {"autoreset_mode": mode}, **small(**task))
    for step, (our_step, their_step) in enumerate(zip(play(ours, 25), play(theirs, 25), strict=True)):
        assert data_equivalence(our_step, their_step, exact=True), f"step {step}"


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("env_id", IDS)
def test_torch_output_holds_the_same_values_on_the_device(env_id: str, mode: AutoresetMode) -> None:
    envs = [
        gymnasium.make_vec(env_id, 3, autoreset_mode=mode, output=output, **small()) for output in ("numpy", "torch")
    ]
    generator = np.random.default_rng(0)
    starts = [env.reset(seed=0) for env in envs]
    assert data_equivalence(starts[0][0], {key: value.numpy() for key, value in starts[1][0].items()}, exact=True)
    for _ in range(4):
        actions = random_actions(envs[0], generator)
        (observation, *arrays, _), (tensor_observation, *tensors, infos) = (
            envs[0].step(actions),
            envs[1].step(torch.from_numpy(actions)),
        )
        assert data_equivalence(observation, {key: value.numpy() for key, value in tensor_observation.items()}, True)
        assert [tensor.dtype for tensor in tensors] == [torch.float32, torch.bool, torch.bool]
        assert [tensor.tolist() for tensor in tensors] == [array.tolist() for array in arrays]
        if mode == AutoresetMode.DISABLED and tensors[1].any():
            for env in envs:
                env.reset(options={"reset_mask": tensors[1]})
        if "final_obs" in infos:
            final = next(final for final in infos["final_obs"] if final is not None)
            assert isinstance(final["input_ids"], torch.Tensor)
    masks: Any = envs[1].unwrapped
    assert isinstance(masks.action_masks(), torch.Tensor)


@pytest.mark.cuda
def test_the_same_episodes_come_out_on_a_cuda_device() -> None:
    arguments = small(**TASKS["all rules"])
    records = [play(TextGenVectorEnv(64, device=device, **arguments), 25) for device in ("cpu", "cuda")]
    assert data_equivalence(records[0], records[1], exact=True)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SameStep", AutoresetMode.DISABLED])
def test_the_autoreset_mode_is_in_the_metadata_of_the_instance(mode: Any) -> None:
    env = TextGenVectorEnv(2, autoreset_mode=mode, **small())
    assert env.metadata["autoreset_mode"] is env.autoreset_mode
    assert "autoreset_mode" not in TextGenVectorEnv.metadata
    assert isinstance(env.autoreset_mode, AutoresetMode)


def test_the_reset_mask_is_read_and_not_popped() -> None:
    env = RecordEpisodeStatistics(TextGenVectorEnv(2, autoreset_mode="DISABLED", **small()))
    env.reset(seed=0)
    *_, infos = env.step(np.array([EOS_TOKEN_ID, 0]))
    assert infos["episode"]["l"].tolist() == [1, 0]
    options = {"reset_mask": np.array([True, False])}
    env.reset(options=options)
    *_, infos = env.step(np.array([0, EOS_TOKEN_ID]))
    assert infos["episode"]["l"].tolist() == [0, 2]


def test_a_masked_reset_with_a_seed_seeds_only_its_rows() -> None:
    arguments = small(prompts=[str(number) for number in range(40)])
    env, twin = (TextGenVectorEnv(2, autoreset_mode="DISABLED", **arguments) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=0)
    env.reset(seed=5, options={"reset_mask": np.array([True, False])})
    fresh = TextGenVectorEnv(2, **arguments)
    fresh.reset(seed=5)
    assert env.core.schedule.current.tolist() == [fresh.core.schedule.current[0], twin.core.schedule.current[1]]


def test_reset_takes_a_list_of_seeds() -> None:
    env = TextGenVectorEnv(2, **small())
    observation, _ = env.reset(seed=3)
    assert data_equivalence(observation, env.reset(seed=[3, 4])[0], exact=True)


def test_the_seed_of_a_reset_is_known_and_none_keeps_it() -> None:
    env = TextGenVectorEnv(2, **small())
    env.reset(seed=5)
    assert env.np_random_seed == 5
    first = env.np_random.integers(1 << 40)
    env.reset()
    assert env.np_random_seed == 5
    assert env.np_random.integers(1 << 40) != first
    env.reset(seed=np.int64(5))  # type: ignore[arg-type]
    assert env.np_random.integers(1 << 40) == first


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_episode_statistics_are_recorded(mode: AutoresetMode) -> None:
    env = RecordEpisodeStatistics(TextGenVectorEnv(2, autoreset_mode=mode, **small()))
    env.reset(seed=0)
    env.step(np.array(tokens("aa")))
    *_, infos = env.step(np.array([EOS_TOKEN_ID, *tokens("a")]))
    assert infos["episode"]["r"].tolist() == [1.0, 0.0]
    assert infos["episode"]["l"].tolist() == [2, 0]


def test_gymnasium_measures_its_speed_without_a_warning() -> None:
    env = gymnasium.make_vec("TextGen-v0", 4, **small())
    performance = pytest.importorskip("gymnasium.utils.performance")
    if not hasattr(performance, "benchmark_vector_step"):
        pytest.skip("this Gymnasium has no benchmark_vector_step, which came with 1.4")
    assert performance.benchmark_vector_step(env, target_duration=0, seed=0) > 0


def test_rows_of_a_group_get_the_same_prompts() -> None:
    arguments = small(prompts=[str(number) for number in range(40)], completions_per_prompt=2)
    env = TextGenVectorEnv(4, autoreset_mode="SAME_STEP", **arguments)
    env.reset(seed=0)
    current = env.core.schedule.current
    assert current[0] == current[1]
    assert current[2] == current[3]
    assert current[0] != current[2]


def test_action_masks_have_a_row_for_each_episode() -> None:
    env = TextGenVectorEnv(2, min_new_tokens=2, **small())
    env.reset(seed=0)
    env.step(np.array([0, EOS_TOKEN_ID]))
    env.step(np.array([0, 0]))
    masks: Any = env.action_masks()
    assert masks[:, EOS_TOKEN_ID].tolist() == [True, False]
    whole: Any = TextGenCompletionVectorEnv(2, min_new_tokens=2, **small()).action_masks()
    assert whole.shape == (2, 5 * 257)


def test_observations_of_one_step_are_not_changed_by_the_next() -> None:
    env = TextGenVectorEnv(2, **small())
    observation, _ = env.reset(seed=0)
    kept = {key: value.copy() for key, value in observation.items()}
    env.step(np.array(tokens("ab")))
    assert data_equivalence(observation, kept, exact=True)


@pytest.mark.parametrize("env_id", IDS)
def test_it_pickles_in_the_middle_of_episodes(env_id: str) -> None:
    env = gymnasium.make_vec(env_id, 3, **small())
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    env.step(random_actions(env, generator))
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(8):
        actions = random_actions(env, generator)
        assert data_equivalence(env.step(actions), twin.step(actions), exact=True)


def test_rendering_gives_one_text_a_row_or_prints_episodes_as_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    env = TextGenVectorEnv(2, render_mode="ansi", **small(prompts=["one"]))
    env.reset()
    env.step(np.array([*tokens("a"), EOS_TOKEN_ID]))
    assert env.render() == (
        "\x1b[36mone\x1b[0m\x1b[1;32m a\x1b[0m",
        "\x1b[36mone\x1b[0m\nscore 0.000, 1 tokens, ended by eos\n  reward/count_a  0.000",
    )
    human = TextGenVectorEnv(2, render_mode="human", **small(prompts=["one"]))
    human.reset()
    human.step(np.array([*tokens("a"), EOS_TOKEN_ID]))
    assert human.render() is None
    assert capsys.readouterr().out == "\none\nscore 0.000, 1 tokens, ended by eos\n  reward/count_a  0.000\n"


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        ([1], ValueError, "Actions must have the shape (3,), got (1,)."),
        ([[1], [2], [3]], ValueError, "Actions must have the shape (3,), got (3, 1)."),
        ([1, 257, 3], ValueError, "Actions must lie between 0 and 256, got 257 at [1]."),
        ([1, 2, -1], ValueError, "Actions must lie between 0 and 256, got -1 at [2]."),
        ([1.0, 2.0, 3.0], TypeError, "Actions must be integers, token ids, got float64: [1.0, 2.0, 3.0]."),
        (None, TypeError, "Actions must be integers, token ids, got object: None."),
        ([True, False, True], TypeError, "Actions must be integers, token ids, got bool: [True, False, True]."),
        (
            torch.ones(3, dtype=torch.bool),
            TypeError,
            "Actions must be integers, token ids, got a tensor of torch.bool.",
        ),
    ],
    ids=repr,
)
def test_wrong_actions_are_refused_and_change_nothing(actions: Any, error: type[Exception], message: str) -> None:
    env = TextGenVectorEnv(3, **small())
    env.reset(seed=0)
    env.step(np.array([EOS_TOKEN_ID, 0, 0]))
    before = core_state(env.core)
    with pytest.raises(error) as raised:
        env.step(actions)
    assert str(raised.value) == message
    assert core_state(env.core) == before


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_failing_reward_changes_nothing_in_any_row(mode: AutoresetMode) -> None:
    env = TextGenVectorEnv(2, autoreset_mode=mode, **small(reward=fail))
    env.reset(seed=0)
    env.step(np.array(tokens("ab")))
    before = core_state(env.core)
    with pytest.raises(RewardError) as error:
        env.step(np.array([*tokens("a"), EOS_TOKEN_ID]))
    assert error.value.completion == "b"
    assert core_state(env.core) == before


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_no_step_before_reset_in_any_mode(mode: AutoresetMode) -> None:
    env = TextGenVectorEnv(2, autoreset_mode=mode, **small())
    with pytest.raises(ResetNeeded, match=r"^There is no episode yet; call reset\(\) first\.$"):
        env.step(np.array([0, 0]))
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded, match=r"^There is no episode yet; call reset\(\) first\.$"):
        env.step(np.array([0, 0]))


def test_with_autoreset_disabled_a_row_that_ended_has_to_be_reset() -> None:
    env = TextGenVectorEnv(2, autoreset_mode="DISABLED", **small())
    env.reset(seed=0)
    env.step(np.array([0, EOS_TOKEN_ID]))
    with pytest.raises(ResetNeeded) as error:
        env.step(np.array([0, 0]))
    assert str(error.value) == (
        "The episodes of rows [1] have ended; begin new ones by reset(options={'reset_mask': ...}) before the next "
        "step()."
    )


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True, False], TypeError, "options['reset_mask'] must be an array or tensor, got list."),
        (np.array([1, 0]), ValueError, "options['reset_mask'] must be boolean of shape (2,), got int64 of shape (2,)."),
        (np.array([True]), ValueError, "options['reset_mask'] must be boolean of shape (2,), got bool of shape (1,)."),
        (np.zeros(2, bool), ValueError, "options['reset_mask'] must be True for at least one row, got only False."),
    ],
    ids=repr,
)
def test_a_wrong_reset_mask_is_refused_and_changes_nothing(mask: Any, error: type[Exception], message: str) -> None:
    env = TextGenVectorEnv(2, **small())
    env.reset(seed=0)
    before = core_state(env.core)
    with pytest.raises(error) as raised:
        env.reset(seed=1, options={"reset_mask": mask})
    assert str(raised.value) == message
    assert core_state(env.core) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"autoreset_mode": "NEXT_STEPS"},
            (
                "autoreset_mode must be one of ['NEXT_STEP', 'SAME_STEP', 'DISABLED'], got 'NEXT_STEPS'. "
                "Did you mean 'NEXT_STEP'?"
            ),
        ),
        ({"output": "jax"}, "output must be 'numpy' or 'torch', got 'jax'."),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0."),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the whole message is compared)
        TextGenVectorEnv(**{**small(), **arguments})
    assert str(error.value) == message


def test_an_unknown_reset_option_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reset\(\) has the options \['reset_mask'\], got \['mask'\]\.$"):
        TextGenVectorEnv(2, **small()).reset(options={"mask": None})


@pytest.mark.parametrize("as_given", [np.array, list, torch.tensor], ids=["numpy", "list", "torch"])
def test_the_action_of_a_row_that_only_begins_anew_may_be_anything(as_given: Any) -> None:
    env = TextGenVectorEnv(2, **small())
    env.reset(seed=0)
    env.step(as_given([0, EOS_TOKEN_ID]))
    actions = as_given([1, -1])
    observation, *_ = env.step(actions)
    assert observation["is_generated"].sum(axis=1).tolist() == [2, 0]
    assert list(actions) == [1, -1]
    with pytest.raises(ValueError, match=r"^Actions must lie between 0 and 256, got -1 at \[1\]"):
        env.step(as_given([1, -1]))


def test_the_completion_of_a_row_that_only_begins_anew_may_be_anything() -> None:
    env = TextGenCompletionVectorEnv(2, **small())
    env.reset(seed=0)
    env.step(np.full((2, 5), EOS_TOKEN_ID))
    observation, *_ = env.step(np.full((2, 5), -1))
    assert not observation["is_generated"].any()
    with pytest.raises(ValueError, match=r"^Actions must lie between 0 and 256, got -1 at \[0, 0\]"):
        env.step(np.full((2, 5), -1))


@pytest.mark.parametrize("seeds", [[3, 4], np.array([3, 4])], ids=["list", "array"])
def test_seeds_may_be_an_array(seeds: Any) -> None:
    env, other = TextGenVectorEnv(2, **small()), TextGenVectorEnv(2, **small())
    env.reset(seed=seeds)
    other.reset(seed=3)
    assert env.core.schedule.current.tolist() == other.core.schedule.current.tolist()


def test_a_group_takes_the_first_seed_that_one_of_its_rows_has() -> None:
    arguments = small(prompts=[str(number) for number in range(40)], completions_per_prompt=2)
    env, other = TextGenVectorEnv(4, **arguments), TextGenVectorEnv(4, **arguments)
    env.reset(seed=[None, 5, 7, 8])
    other.reset(seed=[5, 5, 7, 7])
    assert env.core.schedule.current.tolist() == other.core.schedule.current.tolist()


def test_half_a_group_is_not_seeded() -> None:
    env = TextGenVectorEnv(4, **small(completions_per_prompt=2))
    env.reset(seed=0)
    before = core_state(env.core)
    with pytest.raises(ValueError, match=r"^Rows \[0, 1\] get the same prompts, so a seed must be for all of them"):
        env.reset(seed=9, options={"reset_mask": np.array([False, True, False, False])})
    assert core_state(env.core) == before
    env.reset(seed=9, options={"reset_mask": np.array([True, True, False, False])})


def test_a_seed_is_a_number_or_one_for_each_row() -> None:
    with pytest.raises(TypeError, match=r"^A seed must be an integer or a list with one for each row, got 1\.5\."):
        TextGenVectorEnv(2, **small()).reset(seed=1.5)  # type: ignore[arg-type]


def test_a_limit_of_steps_is_the_wrappers_of_gymnasium() -> None:
    with pytest.raises(TypeError, match=r"^There is no argument 'max_episode_steps': an episode ends"):
        gymnasium.make_vec("TextGen-v0", 2, max_episode_steps=3, **small())
    env = gymnasium.make_vec("TextGen-v0", 2, vectorization_mode="sync", max_episode_steps=3, **small())
    env.reset(seed=0)
    assert [env.step(np.zeros(2, dtype=np.int64))[3].tolist() for _ in range(3)][-1] == [True, True]
