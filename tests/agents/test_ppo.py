"""PPO as Stable-Baselines3's users know it: callbacks, logs, errors, seeds; and what an update begins with."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_policy, letter_task, llama_config
from tests.fakes import PayEachStep, fail, score_each_token
from textgym.agents import PPO, GPT2Policy, TextGenVecEnv, evaluate
from textgym.agents.token_rules import TokenRules
from textgym.env import TextGenEnv
from textgym.reward_protocol import RewardError
from textgym.task import TextTask


def algorithm(task: TextTask | None = None, num_envs: int = 3, **settings: Any) -> PPO:
    defaults = {"n_steps": 20, "n_epochs": 2, "batch_size": 30, "seed": 0, "device": "cpu", "learning_rate": 1e-3}
    env = VecMonitor(TextGenVecEnv(num_envs, letter_task() if task is None else task))
    return PPO("GPT2Policy", env, **{**defaults, "policy_kwargs": {"model": language_model()}, **settings})


class Recorder(BaseCallback):
    """Keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[int] = []
        self.rewards: list[float] = []
        self.dones: list[bool] = []
        self.infos: list[dict[str, Any]] = []
        self.rollout_tokens: list[int] = []
        self.events: list[str] = []

    def _on_training_start(self) -> None:
        self.events.append("training_start")

    def _on_rollout_start(self) -> None:
        self.events.append("rollout_start")

    def _on_step(self) -> bool:
        if self.events[-1] != "step":
            self.events.append("step")
        sizes = {len(self.locals[name]) for name in ("rewards", "dones", "infos")}
        assert len(sizes) == 1
        self.timesteps.append(self.num_timesteps)
        self.rewards.extend(self.locals["rewards"])
        self.dones.extend(self.locals["dones"])
        self.infos.extend(self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        self.events.append("rollout_end")
        if isinstance(self.model, PPO):
            self.rollout_tokens.append(self.model.rollout_buffer.n_tokens)

    def _on_training_end(self) -> None:
        self.events.append("training_end")


@pytest.mark.parametrize("num_envs", [1, 3])
def test_callbacks_are_called_once_for_every_num_envs_tokens(num_envs: int) -> None:
    recorder = Recorder()
    model = algorithm(num_envs=num_envs, n_steps=60 // num_envs).learn(150, callback=recorder)
    n_rollouts = len(recorder.rollout_tokens)
    assert n_rollouts > 1
    assert recorder.n_calls == sum(-(-tokens // num_envs) for tokens in recorder.rollout_tokens)
    assert model.num_timesteps == sum(recorder.rollout_tokens) == len(recorder.rewards)
    steps = np.diff([0, *recorder.timesteps])
    assert set(steps.tolist()) <= set(range(1, num_envs + 1))
    assert (steps == num_envs).sum() >= len(steps) - n_rollouts
    rollout = ["rollout_start", "step", "rollout_end"]
    assert recorder.events == ["training_start", *rollout * n_rollouts, "training_end"]


def test_callbacks_see_each_episode_as_a_monitor_reports_it() -> None:
    recorder = Recorder()
    algorithm().learn(150, callback=recorder)
    length, total = 0, 0.0
    for done, reward, info in zip(recorder.dones, recorder.rewards, recorder.infos, strict=True):
        length, total = length + 1, total + float(reward)
        assert done == ("episode" in info)
        if done:
            assert info["episode"]["l"] == info["n_tokens"] == length
            assert info["episode"]["r"] == pytest.approx(total, abs=1e-5) == pytest.approx(info["score"], abs=1e-5)
            assert info["reward/share_of_a"] == info["score"]
            length, total = 0, 0.0
    assert length == 0


class FirstMinibatch:
    """Log-probabilities of the first minibatch of each update, before and after the rollout was stored."""

    def __init__(self, model: PPO) -> None:
        self.ratios: list[torch.Tensor] = []
        train, get, evaluate_actions = model.train, model.rollout_buffer.get, model.policy.evaluate_actions
        old: list[torch.Tensor] = []

        def watched_train() -> None:
            old.clear()
            train()

        def watched_get(batch_size: int | None = None) -> Any:
            for batch in get(batch_size):
                old.append(batch.old_log_prob)
                yield batch

        def watched_evaluate(obs: Any, actions: torch.Tensor) -> Any:
            result = evaluate_actions(obs, actions)
            if len(old) == 1 and result[1].requires_grad:
                self.ratios.append((result[1] - old[0]).exp().detach())
            return result

        model.train = watched_train  # type: ignore[method-assign]
        model.rollout_buffer.get = watched_get  # type: ignore[method-assign]
        model.policy.evaluate_actions = watched_evaluate  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "config",
    [gpt2_config(), gpt2_config(attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5), llama_config(attention_dropout=0.5)],
    ids=["gpt2", "gpt2_with_dropout", "llama_with_dropout"],
)
def test_the_first_minibatchs_ratio_is_1(config: Any) -> None:
    """With temperature and masks; after each rollout, not only the first."""
    task = letter_task(banned_token_ids=[3], min_new_tokens=2)
    model = algorithm(task, policy_kwargs={"model": language_model(config), "temperature": 0.7}, n_epochs=1)
    watched = FirstMinibatch(model)
    model.learn(180)
    assert len(watched.ratios) >= 3
    for ratio in watched.ratios:
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-4, rtol=0)


def progress(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


ROLLOUT_KEYS = [
    *("rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/score", "rollout/reward/share_of_a", "rollout/kl"),
    *("rollout/kl_coef", "rollout/n_tokens", "rollout/ended_share", "rollout/entropy"),
    *("time/fps", "time/total_timesteps", "time/iterations", "time/time_elapsed", "time/seconds"),
]
TRAIN_KEYS = [
    *("train/approx_kl", "train/clip_fraction", "train/clip_range", "train/entropy_loss", "train/explained_variance"),
    *("train/learning_rate", "train/loss", "train/n_updates", "train/policy_gradient_loss", "train/value_loss"),
]


def test_the_logs_have_sb3s_keys_and_ours(tmp_path: Path) -> None:
    model = algorithm(kl_coef=0.1)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    recorder = Recorder()
    model.learn(120, callback=recorder)
    model.logger.close()
    rows = progress(tmp_path)
    assert len(rows) == len(recorder.rollout_tokens)
    assert all(row[key] != "" for row in rows for key in ROLLOUT_KEYS)
    assert all(row[key] != "" for row in rows[1:] for key in TRAIN_KEYS)
    ends = np.cumsum(recorder.rollout_tokens)
    assert [int(row["time/total_timesteps"]) for row in rows] == ends.tolist()
    for row, start, end in zip(rows, [0, *ends], ends, strict=False):
        infos = [info for info in recorder.infos[start:end] if info]
        scores = [info["score"] for info in infos]
        assert float(row["rollout/score"]) == pytest.approx(np.mean(scores))
        assert float(row["rollout/ep_rew_mean"]) == pytest.approx(np.mean(scores), abs=1e-5)
        assert float(row["rollout/ep_len_mean"]) == float(row["rollout/n_tokens"])
        assert float(row["rollout/n_tokens"]) == pytest.approx((end - start) / len(infos))
        ended = np.mean([info["finish_reason"] != "length" for info in infos])
        assert float(row["rollout/ended_share"]) == pytest.approx(ended)


def test_an_evaluation_in_a_rollout_takes_nothing_from_its_figures(tmp_path: Path) -> None:
    """EvalCallback writes out the logger; the rollout's own row has to be whole all the same."""
    model = algorithm(num_envs=1, n_steps=60)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(120, callback=EvalCallback(VecMonitor(TextGenVecEnv(1, letter_task())), eval_freq=25, verbose=0))
    model.logger.close()
    rows = [row for row in progress(tmp_path) if row["time/iterations"]]
    assert rows
    assert all(row["rollout/score"] and row["rollout/kl"] and row["rollout/entropy"] for row in rows)


def test_eval_callback_evaluates_in_the_middle_of_a_rollout_and_saves_the_best(tmp_path: Path) -> None:
    callback = EvalCallback(
        VecMonitor(TextGenVecEnv(2, letter_task())),
        eval_freq=20,
        n_eval_episodes=4,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    with_evaluation = algorithm().learn(120, callback=callback)
    assert callback.n_calls // 20 == len(callback.evaluations_timesteps) > 1
    assert np.isfinite(callback.last_mean_reward)
    best = PPO.load(tmp_path / "best_model", device="cpu")
    assert isinstance(best.policy, GPT2Policy)
    # It draws from torch's generator, and the rollouts do not: evaluated or not, a run is the same.
    without = algorithm().learn(120)
    assert_equal_weights(with_evaluation, without)


def test_a_gym_env_and_a_gym_evaluation_env_go_together() -> None:
    """No warning of different types, nor of a missing Monitor, as in Stable-Baselines3."""
    model = PPO(
        "GPT2Policy", TextGenEnv(letter_task()), n_steps=30, policy_kwargs={"model": language_model()}, device="cpu"
    )
    callback = EvalCallback(Monitor(TextGenEnv(letter_task())), eval_freq=15, n_eval_episodes=2, verbose=0)
    model.learn(30, callback=callback)
    env = model.get_env()
    assert env is not None
    assert np.isfinite(evaluate_policy(model, env, n_eval_episodes=2)[0])


def test_training_stops_on_a_reward_threshold() -> None:
    stop = StopTrainingOnRewardThreshold(reward_threshold=-1.0, verbose=0)
    env = VecMonitor(TextGenVecEnv(1, letter_task()))
    callback = EvalCallback(env, callback_on_new_best=stop, eval_freq=7, n_eval_episodes=2, verbose=0)
    model = algorithm().learn(10_000, callback=callback)
    assert callback.n_calls == 7
    assert model.num_timesteps == 21


def test_training_stops_after_a_number_of_episodes() -> None:
    callback = StopTrainingOnMaxEpisodes(max_episodes=5)
    algorithm(num_envs=1).learn(10_000, callback=callback)
    assert callback.n_episodes == 5


def test_checkpoints_are_written_as_often_as_sb3_would(tmp_path: Path) -> None:
    model = algorithm().learn(120, callback=CheckpointCallback(save_freq=10, save_path=str(tmp_path)))
    steps = sorted(int(path.stem.split("_")[2]) for path in tmp_path.glob("rl_model_*_steps.zip"))
    recorder_calls = -(-model.num_timesteps // 3)
    assert len(steps) in (recorder_calls // 10, recorder_calls // 10 - 1, recorder_calls // 10 + 1)
    assert all(28 <= step - before <= 30 for before, step in pairwise(steps))
    loaded = PPO.load(tmp_path / f"rl_model_{steps[0]}_steps", device="cpu")
    assert loaded.num_timesteps == steps[0]


@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
def test_the_progress_bar_ends_where_training_ends(capsys: pytest.CaptureFixture[str]) -> None:
    algorithm(num_envs=1, n_steps=40).learn(100, progress_bar=True)
    output = "".join(capsys.readouterr())
    assert "100%" in output


def test_tensorboard_gets_every_rollouts_score(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    recorder = Recorder()
    algorithm(tensorboard_log=str(tmp_path)).learn(120, callback=recorder, tb_log_name="run")
    events = EventAccumulator(str(tmp_path / "run_1"))
    events.Reload()
    scalars = events.Scalars("rollout/score")
    assert [scalar.step for scalar in scalars] == np.cumsum(recorder.rollout_tokens).tolist()
    assert {"rollout/kl", "rollout/reward/share_of_a", "train/loss", "time/fps"} <= set(events.Tags()["scalars"])


def test_evaluate_policy_and_our_evaluate_agree() -> None:
    """Greedy, on prompts in order, so that both see the same completions; ours generates them side by side."""
    task = letter_task(prompt_order="sequential", banned_token_ids=[2])
    model = algorithm(task)
    rewards, lengths = evaluate_policy(
        model, VecMonitor(TextGenVecEnv(1, task)), n_eval_episodes=4, return_episode_rewards=True
    )
    from textgym.agents import Sampling

    ours = evaluate(model, task, 4, sampling=Sampling(deterministic=True))
    assert [item.judgement.score for item in ours.episodes] == pytest.approx(rewards, abs=1e-5)
    assert [len(item.episode.text.token_ids) for item in ours.episodes] == lengths
    assert ours.score == pytest.approx(np.mean(rewards), abs=1e-5)


def assert_equal_weights(first: PPO, second: PPO) -> None:
    ours, theirs = first.policy.state_dict(), second.policy.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_two_seeded_runs_are_equal_element_by_element() -> None:
    runs = []
    for _ in range(2):
        recorder = Recorder()
        torch.rand(3)  # what happened before does not matter
        np.random.rand(3)  # noqa: NPY002  (the global generator is what SB3 seeds)
        runs.append((algorithm(completions_task(), 2, seed=5).learn(200, callback=recorder), recorder))
    (first, seen), (second, seen_again) = runs
    assert_equal_weights(first, second)
    assert seen.rewards == seen_again.rewards
    assert [info.get("completion") for info in seen.infos] == [info.get("completion") for info in seen_again.infos]
    other = algorithm(completions_task(), 2, seed=6).learn(200)
    assert not torch.equal(other.policy.value_net.weight, first.policy.value_net.weight)


def completions_task() -> TextTask:
    return letter_task(completions_per_prompt=2, stop=["ab"], min_new_tokens=1)


@pytest.mark.parametrize("decode_rows", [1, 64])
def test_rows_of_decoding_and_of_the_environment_decide_nothing_about_the_episodes(decode_rows: int) -> None:
    ours = algorithm(num_envs=1, n_steps=60, decode_rows=decode_rows)
    theirs = algorithm(num_envs=6, n_steps=10)
    texts = []
    for model in (ours, theirs):
        recorder = Recorder()
        model.learn(1, callback=recorder)
        texts.append([info["completion"] for info in recorder.infos if info])
    assert texts[0] == texts[1]


def test_every_epoch_of_every_rollout_is_shuffled_anew() -> None:
    model = algorithm()
    shuffles: list[int] = []
    get = model.rollout_buffer.get

    def watched(batch_size: int | None = None) -> Any:
        shuffles.append(model.rollout_buffer.n_shuffles)
        return get(batch_size)

    model.rollout_buffer.get = watched  # type: ignore[method-assign]
    model.learn(180)
    assert shuffles == list(range(len(shuffles)))
    assert len(shuffles) > 4


def test_learning_twice_goes_on_with_new_prompts_and_tokens() -> None:
    """SB3's users call learn() again and again, and by default it sets the counts back."""
    model = algorithm(learning_rate=1e-12)
    texts = []
    for _ in range(2):
        recorder = Recorder()
        model.learn(60, callback=recorder)
        assert model.num_timesteps == len(recorder.rewards)
        texts.append([(info["prompt"], info["completion"]) for info in recorder.infos if info])
    assert texts[0] != texts[1][: len(texts[0])]
    whole = Recorder()
    algorithm(learning_rate=1e-12).learn(120, callback=whole)
    expected = [(info["prompt"], info["completion"]) for info in whole.infos if info]
    both = texts[0] + texts[1]
    assert both[: len(expected)] == expected[: len(both)]


def test_the_callers_policy_kwargs_are_left_as_they_are() -> None:
    """Else the second algorithm would start from random weights."""
    kwargs = {"model": language_model()}
    first, second = algorithm(policy_kwargs=kwargs), algorithm(policy_kwargs=kwargs)
    assert list(kwargs) == ["model"]
    assert_equal_weights(first, second)


def test_a_model_that_was_passed_is_not_trained() -> None:
    model = language_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    algorithm(policy_kwargs={"model": model}).learn(60)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_rewards_of_tokens_and_steps_fall_where_the_environment_pays_them() -> None:
    """A StepReward pays alike through every door; token rewards are spread here, and summed there."""
    spread = algorithm(letter_task(reward=score_each_token), reference=None)
    spread.learn(1)
    buffer = spread.rollout_buffer
    for length, rewards in zip(buffer.lengths, buffer.rewards.split(buffer.lengths.tolist()), strict=True):
        ended = rewards[-1] == 0  # the end of the sequence is no token of the text
        expected = [0.5 * (step + 1) for step in range(length - int(ended))] + [0.0] * int(ended)
        assert rewards.tolist() == expected
    task = letter_task(reward=PayEachStep(), prompt_order="sequential", stop=["ab"])
    stepped = algorithm(task, reference=None)
    stepped.learn(1)
    buffer, env = stepped.rollout_buffer, TextGenEnv(task)
    start, position = 0, 0
    for n_prompt, length in zip(buffer.prompt_lengths, buffer.lengths, strict=True):
        env.reset()
        for token in buffer.token_ids[start + n_prompt : start + n_prompt + length].tolist():
            reward = env.step(token)[1]
            assert float(buffer.rewards[position]) == pytest.approx(reward)
            position += 1
        start += int(n_prompt + length)


class Poisoned:
    """Gives a number that is none, for the first completion that has the letter b."""

    def __init__(self, score: float) -> None:
        self.score = score

    def __call__(self, prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        return [self.score if "b" in text else 0.0 for text in completions]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_stops_the_run(score: float) -> None:
    model = algorithm(letter_task(reward=Poisoned(score)))
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    with pytest.raises(RewardError) as caught:
        model.learn(1_000)
    assert str(score) in str(caught.value)
    assert "completion" in str(caught.value)
    assert model.num_timesteps == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.policy.state_dict().items())


def test_a_reward_that_fails_stops_the_run_and_its_error_is_kept() -> None:
    with pytest.raises(RewardError) as caught:
        algorithm(letter_task(reward=fail)).learn(1_000)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "no judgement today" in str(caught.value)


@pytest.mark.cuda
def test_a_run_on_a_cuda_device_begins_like_one_on_the_cpu() -> None:
    """Same first rollout; rewards, KL, replayed episodes and updates work there."""
    firsts = []
    for device in ("cpu", "cuda"):
        model = algorithm(device=device, self_imitation=0.5, potential_shaping=True, kl_coef=0.1)
        recorder = Recorder()
        model.learn(200, callback=recorder)
        assert model.rollout_buffer.rewards.device.type == device
        assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())
        firsts.append([info["completion"] for info in recorder.infos[: recorder.rollout_tokens[0]] if info])
    assert firsts[0] == firsts[1]


def test_rollouts_hold_about_the_tokens_asked_for_even_where_episodes_are_short() -> None:
    recorder = Recorder()
    algorithm(letter_task(max_new_tokens=20), num_envs=2, n_steps=200, learning_rate=1e-9).learn(1_800, recorder)
    later = recorder.rollout_tokens[1:]
    assert len(later) >= 3
    assert np.mean(later) == pytest.approx(400, rel=0.1)


def test_groups_are_never_cut() -> None:
    model = algorithm(letter_task(completions_per_prompt=5), num_envs=5, n_steps=14)
    recorder = Recorder()
    model.learn(100, callback=recorder)
    prompts = [info["prompt"] for info in recorder.infos if info]
    assert len(prompts) % 5 == 0
    assert all(len(set(prompts[start : start + 5])) == 1 for start in range(0, len(prompts), 5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0."),
        ({"batch_size": 1}, "batch_size must be at least 2 tokens, got 1."),
        ({"decode_rows": 0}, "decode_rows must be at least 1, got 0."),
        ({"kl_coef": -1.0}, "kl_coef must be at least 0, got -1.0."),
        ({"kl_target": 0.0}, "kl_target must be above 0, got 0.0."),
        ({"kl_horizon": 0}, "kl_horizon must be at least 1, got 0."),
        ({"kl_estimator": "k4"}, "kl_estimator must be one of ('k1', 'k2', 'k3'), got 'k4'."),
        (
            {"policy_kwargs": {"model": gpt2_config(), "temperature": 0.0}},
            "temperature must be above 0, got 0.0; for greedy text use deterministic=True, or --greedy.",
        ),
        (
            {"policy_kwargs": {"model": gpt2_config(vocab_size=11)}},
            (
                "The environment's tokenizer has 12 tokens, the model only 11; give the environment the model's own "
                "tokenizer."
            ),
        ),
        (
            {"policy_kwargs": {"model": gpt2_config(n_positions=12)}},
            "max_prompt_tokens + max_new_tokens is 13, beyond the model's context of 12 tokens; lower one of them.",
        ),
        (
            {"policy_kwargs": {"model": llama_config(max_position_embeddings=12)}},
            "max_prompt_tokens + max_new_tokens is 13, beyond the model's context of 12 tokens; lower one of them.",
        ),
    ],
)
def test_settings_that_make_no_sense_are_errors(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(**settings)


def test_a_model_with_more_tokens_than_the_tokenizer_never_uses_them() -> None:
    """As where embeddings are padded to a multiple of 64."""
    model = algorithm(policy_kwargs={"model": language_model(gpt2_config(vocab_size=64))})
    model.learn(60)
    assert int(model.rollout_buffer.token_ids.max()) < 12


def test_spaces_of_other_environments_are_an_error() -> None:
    message = (
        "GPT2Policy needs the spaces of TextGen-v0, Dict observations and Discrete actions, got "
        "Box(-1.0, 1.0, (1,), float32) and Discrete(3)."
    )
    from gymnasium import spaces

    with pytest.raises(TypeError, match=exactly(message)):
        GPT2Policy(spaces.Box(-1, 1, (1,)), spaces.Discrete(3), lambda _: 1.0, model=gpt2_config())


def test_predict_takes_one_context_or_several_and_keeps_to_the_rules() -> None:
    task = letter_task(banned_token_ids=[0, 1], min_new_tokens=1)
    model = algorithm(task)
    env = TextGenVecEnv(64, task)
    observations: dict[str, np.ndarray] = env.reset()  # type: ignore[assignment]
    actions, state = model.predict(observations)
    assert actions.shape == (64,)
    assert state is None
    assert not set(actions.tolist()) & {0, 1, 11}
    one, _ = model.predict({key: array[0] for key, array in observations.items()}, deterministic=True)
    assert one.shape == ()
    assert one in env.action_space
    every, _ = model.predict(observations, deterministic=True)
    assert every[0] == one
    again, _ = model.predict(observations, deterministic=True)
    assert every.tolist() == again.tolist()


def test_predict_restricts_to_the_top_tokens() -> None:
    task = letter_task()
    model = algorithm(task)
    observation: dict[str, np.ndarray] = TextGenVecEnv(1, task).reset()  # type: ignore[assignment]
    many = {key: np.repeat(array, 300, axis=0) for key, array in observation.items()}
    probabilities = model.policy.get_distribution(model.policy.obs_to_tensor(observation)[0]).distribution.probs[0]  # type: ignore[union-attr]
    ordered = probabilities.argsort(descending=True).tolist()
    torch.manual_seed(0)
    assert set(model.predict(many)[0].tolist()) > set(ordered[:3])
    assert set(model.predict(many, top_k=3)[0].tolist()) == set(ordered[:3])
    assert set(model.predict(many, top_k=1)[0].tolist()) == {ordered[0]}
    nucleus = probabilities[ordered[0]].item() + 1e-4
    assert set(model.predict(many, top_p=nucleus)[0].tolist()) == set(ordered[:2])
    assert set(model.policy.predict(many, top_k=2, top_p=nucleus)[0].tolist()) <= set(ordered[:2])
    with pytest.raises(ValueError, match=exactly("top_k must be at least 1, got 0.")):
        model.predict(observation, top_k=0)
    with pytest.raises(ValueError, match=exactly("top_p must be above 0 and at most 1, got 2.0.")):
        model.predict(observation, top_p=2.0)


def test_predict_says_what_it_needs() -> None:
    message = (
        "predict needs the Dict observation of TextGen-v0, got tuple; reset() of an Env returns a pair of observation "
        "and info, that of a VecEnv the observation alone."
    )
    with pytest.raises(TypeError, match=exactly(message)):
        algorithm().predict(TextGenEnv(letter_task()).reset())  # type: ignore[arg-type]
    observation = TextGenEnv(letter_task()).reset()[0]
    del observation["is_generated"]
    message = (
        "predict needs an observation with the keys input_ids, attention_mask, is_generated, got ['input_ids', "
        "'attention_mask']."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm().predict(observation)


def test_a_forbidden_action_before_does_not_let_the_text_end_too_early() -> None:
    """The environment marks the budget it cost, but `min_new_tokens` counts what was generated."""
    task = letter_task(min_new_tokens=2, banned_token_ids=[0])
    policy = letter_policy(task)
    env = TextGenEnv(task)
    env.reset(seed=0)
    for _ in range(3):
        observation = env.step(0)[0]
    logits = policy.get_distribution(policy.obs_to_tensor(observation)[0]).distribution
    assert logits is not None
    np.testing.assert_array_equal(logits.probs[0].numpy(force=True) > 0, env.action_masks())  # type: ignore[union-attr]


def test_plain_sb3_can_be_told_the_rules() -> None:
    task = letter_task(banned_token_ids=[0, 1, 2, 3, 4, 5], min_new_tokens=2)
    rules = TokenRules((0, 1, 2, 3, 4, 5), 2, task.eos_token_id)
    model = stable_baselines3.PPO(
        GPT2Policy, TextGenVecEnv(4, task), n_steps=16, batch_size=64, n_epochs=1, device="cpu",
        policy_kwargs={"model": language_model(), "token_rules": rules},
    )  # fmt: skip
    recorder = Recorder()
    model.learn(64, callback=recorder)
    assert not any("forbidden_action" in info for info in recorder.infos)
