"""The speed table: contestants do equal work, the peer's environment gives our episodes, the report adds up."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from textgym.benchmarks import speed
from textgym.benchmarks.throughput import KINDS
from textgym.benchmarks.throughput.environment import make_open_task
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
from textgym.benchmarks.throughput.rollout import CACHES, Decoding, Generate
from textgym.benchmarks.throughput.trl_trainers import NOT_INSTALLED, TRAINERS, TRLIteration, has_trl
from textgym.benchmarks.throughput.usual_environment import UsualTextEnv
from textgym.task import TextTask
from textgym.vector import TextGenVectorEnv

# TRL 1.16 uses names that transformers 5.23 has deprecated.
IGNORE_DEPRECATIONS_IN_TRL = pytest.mark.filterwarnings(
    "ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"
)


def steps_of_the_optimiser(algorithm: OnPolicyAlgorithm) -> tuple[int, int]:
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
    iteration = TRLIteration(name, QUICK)
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
        Contestant("ours", counted(calls, "ours", [9, 20, 40, 60]), is_ours=True),
        Contestant("peer", counted(calls, "peer", [9, 10, 10, 15])),
    ]
    result = measure_case(Case("race", "steps", {}, contestants), repeats=3)
    assert calls == ["ours", "peer"] * 4
    assert [each.rates for each in result.measurements] == [[20, 40, 60], [10, 10, 15]]
    assert result.ratios(result.ours) == [2, 4, 4]
    assert result.as_json()["ratio"] == 4


def test_the_ratio_is_to_the_fastest_peer() -> None:
    measurements = [
        Measurement("ours", True, [10.0]),
        Measurement("slow", False, [1.0]),
        Measurement("fast", False, [5.0]),
    ]
    result = CaseResult(Case("race", "steps", {}, []), measurements)
    assert result.best_peer.name == "fast"
    assert result.as_json()["ratio"] == 2


def test_a_case_without_a_peer_is_refused() -> None:
    case = Case("race", "steps", {}, [Contestant("ours", lambda: 1.0, is_ours=True)])
    with pytest.raises(ValueError, match=r"^case 'race' needs a contestant of ours and one of another's to compare\.$"):
        measure_case(case, repeats=1)


def test_timed_divides_by_seconds() -> None:
    rate = timed(lambda: sum(1 for _ in range(1000)))()
    assert 1e3 < rate < 1e10


@IGNORE_DEPRECATIONS_IN_TRL
def test_a_quick_run_prints_the_table_and_writes_json_and_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["speed", "--quick"])
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    threads = torch.get_num_threads()
    try:
        speed.main(repeats=2, threads=1, quick=True, output=tmp_path)
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    summary = json.loads(out.strip().splitlines()[-1])
    content = json.loads((tmp_path / "speed_quick.json").read_text(encoding="utf-8"))
    names = [
        "whole PPO iteration",
        "whole iteration of one optimiser step",
        "rollout alone, 4 rows",
        "rollout alone, 16 rows",
        "rollout alone, 16 rows, unequal lengths",
        "environment alone, 4 environments",
    ]
    assert list(summary) == [case["case"] for case in content["cases"]] == names
    peers = content["cases"][1]
    assert set(peers["skipped"]) == (set() if has_trl() else {"TRL RLOO", "TRL GRPO"})
    assert len(peers["contestants"]) == (4 if has_trl() else 2)
    assert content["command"] == "python -m textgym.benchmarks.speed --quick"
    assert {"cpu", "cores", "threads"} <= content["machine"].keys()
    assert {"python", "torch", "stable-baselines3", "transformers"} <= content["versions"].keys()
    for case in content["cases"]:
        assert all(len(each["rates"]) == 2 and min(each["rates"]) > 0 for each in case["contestants"])
        assert summary[case["case"]]["ratio"] == pytest.approx(case["ratio"], abs=0.01)
    assert (tmp_path / "speed_quick.png").read_bytes().startswith(b"\x89PNG")
    assert "SB3 PPO, same network, no reference" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["rolout"]}, f"--case must be one of {', '.join(KINDS)}, got rolout."),
        ({"repeats": 0}, "--repeats must be at least 1, got 0."),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(typer.BadParameter) as raised:
        speed.main(**arguments)
    assert str(raised.value) == message
