"""The speed table: contestants do equal work, the peer's environment gives our episodes, the report adds up."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm

from textgym.benchmarks import speed
from textgym.benchmarks.throughput import KINDS, measurement, q_learning
from textgym.benchmarks.throughput.buffers import buffer_cases, stored_bytes
from textgym.benchmarks.throughput.environment import environment_cases, make_open_task
from textgym.benchmarks.throughput.growth import growth_cases
from textgym.benchmarks.throughput.inputs import (
    QUICK,
    Setting,
    end_texts_at_random,
    make_model,
    make_prompts,
    make_task,
    make_tokenizer,
    make_unequal_task,
)
from textgym.benchmarks.throughput.iteration import learn_one_iteration, make_ours, make_plain
from textgym.benchmarks.throughput.measurement import Case, CaseResult, Contestant, Measurement, measure_case, timed
from textgym.benchmarks.throughput.report import markdown_table
from textgym.benchmarks.throughput.rollout import CACHES, Decoding, Generate
from textgym.benchmarks.throughput.trl_trainers import NOT_INSTALLED, TRAINERS, TRLIteration, has_trl
from textgym.benchmarks.throughput.update import NO_BFLOAT16, filled, operations_of, update, update_cases
from textgym.benchmarks.throughput.usual_environment import UsualTextEnv
from textgym.task import TextTask
from textgym.vector import TextGenVectorEnv

# TRL 1.16 uses names that transformers 5.23 has deprecated.
IGNORE_DEPRECATIONS_IN_TRL = pytest.mark.filterwarnings(
    "ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"
)


def steps_of_the_optimiser(algorithm: BaseAlgorithm) -> tuple[int, int]:
    """Tokens generated and optimiser steps taken in one iteration."""
    steps: list[None] = []
    algorithm.policy.optimizer.register_step_post_hook(lambda *_: steps.append(None))
    return learn_one_iteration(algorithm, QUICK.rollout_tokens), len(steps)


@pytest.mark.parametrize(("batch_size", "n_steps"), [(24, 1), (12, 2)])
def test_an_iteration_has_the_same_tokens_and_optimiser_steps_on_both_sides(batch_size: int, n_steps: int) -> None:
    setting = Setting(**{**vars(QUICK), "batch_size": batch_size})
    for algorithm in (make_ours(setting, with_reference=True), make_plain(setting)):
        assert steps_of_the_optimiser(algorithm) == (24, n_steps)


def test_both_sides_begin_with_the_same_weights_and_hyper_parameters() -> None:
    ours, plain = make_ours(QUICK, with_reference=False), make_plain(QUICK)
    for own, peer in zip(ours.policy.parameters(), plain.policy.parameters(), strict=True):
        assert own.equal(peer)
    for name in ("gamma", "gae_lambda", "learning_rate", "ent_coef", "vf_coef", "max_grad_norm", "n_epochs"):
        assert getattr(ours, name) == getattr(plain, name), name


def test_an_iteration_of_dqn_has_the_same_tokens_and_optimiser_steps_on_both_sides() -> None:
    ours, plain = q_learning.make_ours(QUICK), q_learning.make_plain(QUICK)
    for own, peer in zip(ours.policy.parameters(), plain.policy.parameters(), strict=True):
        assert own.equal(peer)
    for name in ("gamma", "tau", "learning_rate", "batch_size", "max_grad_norm", "exploration_final_eps"):
        assert getattr(ours, name) == getattr(plain, name), name
    for algorithm in (ours, plain):
        assert steps_of_the_optimiser(algorithm) == (24, 2)


def test_an_update_goes_through_the_rollout_once_an_epoch() -> None:
    assert update(filled(replace(QUICK, n_epochs=3))) == 3 * 24


def test_the_operations_of_an_update_are_those_of_its_matrix_products() -> None:
    """Counted by hand: 2 a weight and position forward, twice that backward; attention adds a little.

    The last block's own attention is all that it has to compute at every position, and nobody asks for a last token.
    """
    setting = replace(QUICK, n_embd=64, batch_size=24)
    positions, decisions = 4 * (4 + 6 - 1), 4 * 6
    weights_at_positions = (12 + 3) * 64**2
    weights_at_decisions = 9 * 64**2 + 64 * (512 + 1)
    expected = 6 * (positions * weights_at_positions + decisions * weights_at_decisions)
    assert operations_of(filled(setting)) == pytest.approx(expected, rel=0.05)


def test_bfloat16_is_measured_or_named_as_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "textgym.benchmarks.throughput.update"
    monkeypatch.setattr(f"{module}.has_bfloat16", lambda _: False)
    assert [make().skipped for make in update_cases(QUICK)] == [{"TextGym update, bfloat16": NO_BFLOAT16}]
    monkeypatch.setattr(f"{module}.has_bfloat16", lambda _: True)
    cases = [make() for make in update_cases(QUICK)]
    assert [case.setting["dtype"] for case in cases] == ["float32", "bfloat16"]
    assert not any(case.skipped for case in cases)


def test_bytes_a_transition_are_those_counted_by_hand() -> None:
    """Ours: tokens of 4 bytes, prompts too, and 5 or 1 numbers a token; SB3's: whole contexts, twice in a replay."""
    n_transitions, context = 24, 4 + 6
    rollout, replay = (make() for make in buffer_cases(QUICK))
    of_ours = [case.contestants[0].measure() * n_transitions for case in (rollout, replay)]
    lengths = 2 * 4 * 8
    assert of_ours == [40 * 4 + 24 * 5 * 4 + lengths, 40 * 4 + 24 * 4 + lengths]
    observation = context * (8 + 1 + 1)
    of_sb3 = [case.contestants[1].measure() for case in (rollout, replay)]
    # Action, reward, episode start, value, log-probability, advantage, return; action, reward, done, timeout.
    assert of_sb3 == [observation + 8 + 6 * 4, 2 * observation + 8 + 3 * 4]


def test_memory_that_is_shared_counts_once() -> None:
    class Holder:
        def __init__(self) -> None:
            self.array = np.zeros(4)
            self.view = self.array[:]
            self.nested = {"tensor": torch.zeros(3)}

    assert stored_bytes(Holder()) == 32 + 12


@pytest.mark.slow
def test_growth_is_measured_in_a_process_of_its_own() -> None:
    setting = replace(QUICK, growing_tokens=(3, 6))
    speed_case, memory_case = (make() for make in growth_cases(setting))
    assert [each.name for each in speed_case.contestants] == ["6 new tokens", "3 new tokens"]
    result = measure_case(speed_case, repeats=3)
    assert all(len(each.rates) == 1 and each.rates[0] > 0 for each in result.measurements)
    assert result.baseline.name == "3 new tokens"
    # Of tens of MiB, while this process has hundreds.
    assert all(0 < each.measure() < 200 for each in memory_case.contestants)


@pytest.mark.slow
def test_the_usual_environment_is_also_measured_with_a_process_each() -> None:
    case = environment_cases(replace(QUICK, environment_counts=(2,), most_processes=2))[1]()
    assert [each.name for each in case.contestants][-1] == "the usual way, AsyncVectorEnv"
    assert case.contestants[-1].measure() > 0


def test_a_rollout_has_the_same_tokens_on_both_sides() -> None:
    task, model = make_task(QUICK), make_model(QUICK)
    assert Decoding(QUICK, task, model)() == 24
    for cache in CACHES:
        assert Generate(QUICK, task, model, cache)() == 24


def test_unequal_completions_have_the_lengths_that_were_asked_for_on_both_sides() -> None:
    """Lengths of 8 and more, geometric beyond that: about 8 + 20 tokens in the mean, so 48 × 28 in all."""
    setting = replace(QUICK, num_envs=16, new_tokens=200)
    task = make_unequal_task(setting, 16)
    n_ours = Decoding(setting, task, end_texts_at_random(make_model(setting), 20), rounds=3)()
    generate = Generate(setting, task, end_texts_at_random(make_model(setting), 20), "dynamic", rounds=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        n_peer = generate()
    for n_tokens in (n_ours, n_peer):
        assert 48 * 20 < n_tokens < 48 * 38


@pytest.mark.skipif(not has_trl(), reason=NOT_INSTALLED)
@IGNORE_DEPRECATIONS_IN_TRL
@pytest.mark.parametrize("name", TRAINERS)
def test_trl_does_the_same_work(name: str) -> None:
    """As many completions of the same length, one optimiser step for them, and a reference that it compares with."""
    iteration = TRLIteration(name, replace(QUICK, completions_per_prompt=4))
    assert iteration() > 0
    state = iteration.trainer.state
    assert state.global_step == 2
    log = next(row for row in state.log_history if "completions/min_length" in row)
    assert log["completions/min_length"] == QUICK.new_tokens
    assert log["num_tokens"] == 2 * QUICK.num_envs * (QUICK.prompt_tokens + QUICK.new_tokens)
    assert "kl" in log
    assert iteration.trainer.ref_model is not None


@pytest.mark.parametrize("vocab_size", [512, 8192, 50257])
def test_the_tokenizer_has_the_size_asked_for_and_one_token_a_letter(vocab_size: int) -> None:
    tokenizer = make_tokenizer(vocab_size)
    assert len(tokenizer) == vocab_size
    assert tokenizer.eos_token_id == vocab_size - 1
    for prompt in make_prompts(3, 16):
        ids = tokenizer(prompt)["input_ids"]
        assert len(ids) == 16
        assert tokenizer.decode(ids) == prompt
    assert len(tokenizer.decode([300])) == 2


def test_the_usual_environment_passes_gymnasium_s_checker() -> None:
    # The checker compares observations of successive steps, which are one array in the environment itself.
    check_env(_Copying(make_open_task(QUICK)), skip_render_check=True)


def test_the_usual_environment_gives_the_episodes_of_ours() -> None:
    """Random actions from a small vocabulary, so that some episodes end early."""
    task = TextTask(
        make_tokenizer(262), make_prompts(1, 5), count_words, max_prompt_tokens=5, max_new_tokens=8, min_new_tokens=0
    )
    usual: SyncVectorEnv[Any] = SyncVectorEnv([partial(UsualTextEnv, task)] * 3)
    ours = TextGenVectorEnv(3, task)
    actions = np.random.default_rng(0)
    ends = set()
    assert_same(usual.reset(seed=0)[0], ours.reset(seed=0)[0])
    for _ in range(60):
        action = np.where(actions.random(3) < 0.2, task.eos_token_id, actions.integers(0, 262, 3))
        peer: Any = usual.step(action)
        own: Any = ours.step(action)
        assert_same(peer[0], own[0])
        for index in (1, 2, 3):
            np.testing.assert_allclose(peer[index], own[index])
        for key in ("prompt", "completion", "finish_reason", "n_tokens", "score"):
            if key in own[4]:
                mask = own[4][f"_{key}"]
                assert list(peer[4][key][mask]) == list(own[4][key][mask])
        ends |= set(own[4].get("finish_reason", np.array([]))) - {None}
    assert ends == {"eos", "length"}


def count_words(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    return [float(len(completion)) for completion in completions]


class _Copying(UsualTextEnv):
    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = super().reset(**kwargs)
        return {key: value.copy() for key, value in observation.items()}, info

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        observation, *rest = super().step(action)
        return {key: value.copy() for key, value in observation.items()}, *rest  # type: ignore[return-value]


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])


def counted(calls: list[str], name: str, rates: list[float]) -> Callable[[], float]:
    def measure() -> float:
        calls.append(name)
        return rates[calls.count(name) - 1]

    return measure


def test_contestants_warm_up_and_are_then_measured_in_turn() -> None:
    calls: list[str] = []
    contestants = [
        Contestant("ours", counted(calls, "ours", [9, 9, 20, 40, 60]), is_ours=True),
        Contestant("peer", counted(calls, "peer", [9, 9, 10, 10, 15])),
    ]
    result = measure_case(Case("race", "steps/s", {}, contestants), repeats=3)
    assert calls == ["ours"] * 2 + ["peer"] * 2 + ["ours", "peer"] * 3
    assert [each.rates for each in result.measurements] == [[20, 40, 60], [10, 10, 15]]
    assert result.ratios(result.ours) == [2, 4, 4]
    assert result.as_json()["ratio"] == 4


def test_the_ratio_is_to_the_fastest_peer() -> None:
    measurements = [
        Measurement("ours", True, [10.0]),
        Measurement("slow", False, [1.0]),
        Measurement("fast", False, [5.0]),
    ]
    result = CaseResult(Case("race", "steps/s", {}, []), measurements)
    assert result.baseline.name == "fast"
    assert result.as_json()["ratio"] == 2


def test_where_less_is_better_the_ratio_says_how_many_times_less() -> None:
    measurements = [Measurement("ours", True, [2.0]), Measurement("a", False, [6.0]), Measurement("b", False, [9.0])]
    result = CaseResult(Case("size", "bytes", {}, [], is_lower_better=True), measurements)
    assert result.baseline.name == "a"
    assert result.ratio(result.ours) == 3


def test_a_limit_is_compared_with_only_where_there_is_no_peer() -> None:
    ours, limit = Measurement("ours", True, [2.0]), Measurement("limit", False, [8.0], is_limit=True)
    peer = Measurement("peer", False, [1.0])
    assert CaseResult(Case("race", "steps/s", {}, []), [ours, limit, peer]).baseline is peer
    assert CaseResult(Case("race", "steps/s", {}, []), [ours, limit]).baseline is limit
    named = Case("race", "steps/s", {}, [], compared_with="limit")
    assert CaseResult(named, [ours, limit, peer]).baseline is limit


def test_what_takes_minutes_is_measured_less_often_and_without_warming_up() -> None:
    calls: list[str] = []
    contestants = [
        Contestant("ours", counted(calls, "ours", [9, 9, 20, 40, 60]), is_ours=True),
        Contestant("peer", counted(calls, "peer", [10]), most_repeats=1),
    ]
    result = measure_case(Case("race", "steps/s", {}, contestants), repeats=3)
    assert calls == ["ours"] * 2 + ["ours", "peer", "ours", "ours"]
    assert result.ratios(result.ours) == [2, 4, 6]


def test_the_readme_has_a_row_for_each_of_ours_and_each_that_it_is_compared_with() -> None:
    """Medians 20, 10 and 5; in bytes less is better; where all are ours, with the case's own baseline."""
    tokens = [
        Measurement("ours", True, [10.0, 20.0, 30.0]),
        Measurement("theirs", False, [10.0, 10.0, 10.0]),
        Measurement("a slow one", False, [5.0]),
    ]
    two = [Measurement("fast", True, [30.0]), Measurement("slow", True, [20.0]), Measurement("theirs", False, [10.0])]
    skipped = {"a missing one": "not installed"}
    contestants = [Contestant("ours", lambda: 1.0, is_ours=True)]
    race = CaseResult(Case("race", "tokens/s", {}, contestants, skipped), tokens)
    doubles = CaseResult(Case("doubles", "tokens/s", {}, contestants), two)
    buffer = CaseResult(
        Case("buffer", "bytes", {}, contestants, is_lower_better=True),
        [Measurement("ours", True, [24.3]), Measurement("theirs", False, [2592.0])],
    )
    growing = CaseResult(
        Case("growth", "tokens/s", {}, contestants, compared_with="64"),
        [Measurement("1,024", True, [900.0]), Measurement("64", True, [1000.0])],
    )
    assert markdown_table([race, doubles, buffer, growing]).splitlines()[2:] == [
        "| race | 20 tokens/s | theirs: 10 | 2 (1 to 3) |",
        "| race | 20 tokens/s | a slow one: 5 | 4 (2 to 6) |",
        "| race | | a missing one: skipped, not installed | |",
        "| doubles | fast: 30 tokens/s | theirs: 10 | 3 |",
        "| doubles | slow: 20 tokens/s | theirs: 10 | 2 |",
        "| buffer | 24.3 bytes | theirs: 2,592 | 107 |",
        "| growth | 900 tokens/s | 64: 1,000 | 0.9 |",
    ]


def test_a_case_without_a_peer_is_refused() -> None:
    case = Case("race", "steps/s", {}, [Contestant("ours", lambda: 1.0, is_ours=True)])
    with pytest.raises(ValueError, match=r"^case 'race' needs a contestant of ours and one of another's to compare\.$"):
        measure_case(case, repeats=1)


@pytest.mark.parametrize(("least_seconds", "expected"), [(0.0, 1), (0.5, 2), (1.25, 5)])
def test_work_is_timed_and_done_again_where_it_is_short(
    least_seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, calls = [3.0], []
    monkeypatch.setattr(measurement, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def work() -> int:
        clock[0] += 0.25
        calls.append(1)
        return 10

    assert timed(work, least_seconds)() == 40.0
    assert len(calls) == expected


def run_quickly(kinds: list[str] | None, folder: Path) -> None:
    threads = torch.get_num_threads()
    try:
        speed.main(kinds=kinds, repeats=2, threads=1, quick=True, output=folder)
    finally:
        torch.set_num_threads(threads)


def test_a_quick_run_prints_the_table_and_writes_json_and_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--quick", "--case", "rollout"])
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    run_quickly(["rollout", "update", "dqn", "environment", "buffers"], tmp_path)
    out = capsys.readouterr().out
    summary = json.loads(out.strip().splitlines()[-1])
    content = json.loads((tmp_path / "speed_quick.json").read_text(encoding="utf-8"))
    names = [
        "rollout alone, 4 rows",
        "rollout alone, 16 rows",
        "rollout alone, 16 rows, unequal lengths",
        "update alone, float32",
        "whole DQN iteration",
        "environment alone, Env",
        "environment alone, 4 environments",
        "rollout buffer",
        "replay buffer",
    ]
    assert [name for name in summary if name != "update alone, bfloat16"] == names
    assert list(summary) == [case["case"] for case in content["cases"]]
    assert content["command"] == "python -m textgym.benchmarks.speed --quick --case rollout"
    assert {"cpu", "cores", "threads"} <= content["machine"].keys()
    assert {"python", "torch", "stable-baselines3", "transformers"} <= content["versions"].keys()
    for case in content["cases"]:
        assert all(len(each["rates"]) == 2 and min(each["rates"]) > 0 for each in case["contestants"])
        assert summary[case["case"]]["ratio"] == pytest.approx(case["ratio"], abs=0.01)
    assert (tmp_path / "speed_quick.png").read_bytes().startswith(b"\x89PNG")
    assert "SB3 DQN, same network" in out
    assert "the usual way, AsyncVectorEnv" in summary["environment alone, 4 environments"]["skipped"]


@pytest.mark.slow
@IGNORE_DEPRECATIONS_IN_TRL
def test_a_quick_run_of_iterations_compares_with_trl_or_names_it_as_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    run_quickly(["iteration"], tmp_path)
    plain, peers = json.loads((tmp_path / "speed_quick.json").read_text(encoding="utf-8"))["cases"]
    assert [case["case"] for case in (plain, peers)] == ["whole PPO iteration", "whole iteration of one optimiser step"]
    assert plain["against"] == "SB3 PPO, same network, no reference"
    assert set(peers["skipped"]) == (set() if has_trl() else {"TRL RLOO", "TRL GRPO"})
    assert len(peers["contestants"]) == (3 if has_trl() else 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["rolout"]}, f"--case must be one of {', '.join(KINDS)}, got rolout."),
        ({"repeats": 0}, "--repeats must be at least 1, got 0."),
        ({"setting_name": "gpu"}, "--setting must be one of cpu, h200, got 'gpu'."),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(typer.BadParameter) as raised:
        speed.main(**arguments)
    assert str(raised.value) == message


def test_the_setting_of_a_gpu_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = f"--setting h200 needs a CUDA device, and PyTorch {torch.__version__} finds none here."
    with pytest.raises(typer.BadParameter) as raised:
        speed.choose_setting("h200", None, None, None)
    assert str(raised.value) == message


def test_sizes_of_a_setting_can_be_replaced() -> None:
    setting = speed.choose_setting("cpu", None, 240, None)
    assert (setting.num_envs, setting.new_tokens, setting.batch_size) == (16, 240, 256)


@pytest.mark.cuda
# Of a graph that PyTorch makes for `generate` of transformers.
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.parametrize("kind", ["rollout", "update", "growth"])
def test_every_kind_of_case_runs_on_a_cuda_device(kind: str) -> None:
    setting = replace(QUICK, device="cuda", autocast="bfloat16")
    for make_case in KINDS[kind](setting):
        for each in measure_case(make_case(), repeats=1).measurements:
            assert each.median > 0
