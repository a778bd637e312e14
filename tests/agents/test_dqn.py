"""What value-based algorithms count, log and schedule on the sequence path, and what they refuse."""

from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from tests.agents.tiny import exactly, gpt2_config, language_model, letter_task
from textgym.agents import DQN, QRDQN, DoubleDQN, GPT2QPolicy, TextGenVecEnv
from textgym.agents.scoring import probable_tokens


def algorithm(kind: type[DQN] = DQN, num_envs: int = 3, **settings: Any) -> DQN:
    policy_kwargs = {"model": language_model(), "advantage_scale": 0.5}
    defaults = {"policy_kwargs": policy_kwargs, "train_freq": 40, "batch_size": 20, "seed": 0, "device": "cpu"}
    small = {"learning_starts": 100, "gradient_steps": 2, "target_update_interval": 90, "learning_rate": 1e-3}
    return kind("GPT2Policy", TextGenVecEnv(num_envs, letter_task()), **{**defaults, **small, **settings})


class Kept(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        """Nothing is open."""


class Watcher(BaseCallback):
    """Keeps what a callback of Stable-Baselines3 sees at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, int, int]] = []
        self.target_changes: list[int] = []
        self.rates: list[float] = []
        self._target = torch.empty(0)

    def _on_rollout_start(self) -> None:
        self.rates.append(self.model.exploration_rate)  # type: ignore[attr-defined]

    def _on_step(self) -> bool:
        dones, rewards = self.locals["dones"], self.locals["rewards"]
        assert len(self.locals["infos"]) == len(dones) == len(rewards)
        self.steps.append((self.num_timesteps, len(rewards), int(dones.sum())))
        target = next(iter(self.model.q_net_target.parameters())).detach().flatten()[:5].clone()  # type: ignore[attr-defined]
        if not torch.equal(target, self._target):
            self.target_changes.append(self.num_timesteps)
            self._target = target
        return True


def test_everything_counts_tokens() -> None:
    model, watcher, kept = algorithm(num_envs=1), Watcher(), Kept()
    model.set_logger(Logger(None, [kept]))
    model.learn(400, callback=watcher)
    assert model.replay_buffer is not None
    assert model.num_timesteps == model.replay_buffer.n_tokens == watcher.steps[-1][0] >= 400
    assert sum(size for _, size, _ in watcher.steps) == model.num_timesteps
    assert sum(ends for _, _, ends in watcher.steps) == len(model.replay_buffer.lengths) == model._episode_num
    # Rollouts have about train_freq tokens, and learning begins after learning_starts.
    rollouts = len(watcher.rates)
    assert 400 / 60 < rollouts < 400 / 25
    totals = [row["time/total_timesteps"] for row in kept.rows]
    assert model._n_updates == 2 * sum(total > 100 for total in totals)
    # The target is seen to have moved at the token after; it moves once the network has.
    first, *later = watcher.target_changes
    assert first == 1
    assert later == list(range(181, model.num_timesteps + 1, 90))
    expected = {
        "rollout/score", "rollout/reward/share_of_a", "rollout/n_tokens", "rollout/ended_share", "rollout/entropy",
        "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/exploration_rate", "train/loss", "train/learning_rate",
        "train/n_updates", "time/fps",
    }  # fmt: skip
    assert expected <= kept.rows[-1].keys()


def test_exploration_falls_with_the_tokens() -> None:
    """All is explored before learning starts; then ε falls linearly over its share of training."""
    model = algorithm(exploration_initial_eps=0.8, exploration_final_eps=0.1, exploration_fraction=0.5)
    rates: list[tuple[int, float]] = []
    play = model._play

    def watched(n_tokens: int) -> Any:
        rates.append((model.num_timesteps, model.network.exploration.rate))
        return play(n_tokens)

    model._play = watched  # type: ignore[method-assign]
    model.learn(400)
    for n_tokens, rate in rates:
        expected = 1.0 if n_tokens < 100 else 0.8 - 0.7 * min(1.0, n_tokens / 200)
        assert rate == pytest.approx(expected)
    assert model.network.exploration.rate == 0
    assert model.exploration_rate == pytest.approx(0.1)


def test_two_runs_are_equal_and_callbacks_may_stop_one() -> None:
    weights = []
    for _ in range(2):
        model = algorithm(candidates=4).learn(200)
        weights.append(model.policy.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 50

    stopped = algorithm().learn(400, callback=Stop())
    assert 50 <= stopped.num_timesteps < 55


@pytest.mark.parametrize("kind", [DQN, DoubleDQN, QRDQN])
def test_only_candidates_count_in_the_target(kind: type[DQN]) -> None:
    """Each is stored with its token, and all other tokens of the next state have the least value."""
    model = algorithm(kind, candidates=3).learn(120)
    replay = model.replay_buffer
    assert replay is not None
    assert replay.considered is not None
    assert replay.considered.shape == (replay.n_tokens, 3)
    again = probable_tokens(model.network.exploration.reference, replay, 3)
    assert torch.equal(replay.considered, again)
    samples: Any = replay.sample(20)
    with torch.no_grad():
        values = model.network(samples.next_observations)
        unrestricted = {key: value for key, value in samples.next_observations.items() if key != "considered"}
        all_values = model.network(unrestricted)
    is_candidate = torch.zeros(20, model.network.vocab_size, dtype=torch.bool)
    is_candidate.scatter_(1, samples.next_observations["considered"].long(), True)
    if values.dim() == 3:
        values, all_values = values[:, 0], all_values[:, 0]
    assert torch.equal(values[is_candidate], all_values[is_candidate])
    assert bool((values[~is_candidate] == torch.finfo(values.dtype).min).all())


def test_an_update_changes_the_learning_network_alone() -> None:
    model = algorithm(learning_starts=0).learn(30)
    reference = model.network.exploration.reference
    before = [tensor.clone() for tensor in (*model.policy.q_net_target.parameters(), *reference.parameters())]
    model.train(2, 20)
    after = [*model.policy.q_net_target.parameters(), *reference.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_what_does_not_fit_is_an_error() -> None:
    arguments: dict[str, Any]
    for name in ("batch_size", "target_update_interval"):
        arguments = {name: 0}
        with pytest.raises(ValueError, match=exactly(f"{name} must be at least 1, got 0.")):
            algorithm(**arguments)
    for value in (0, (2, "episode"), True):
        message = f"train_freq must be a number of tokens, at least 1, got {value!r}."
        with pytest.raises(ValueError, match=exactly(message)):
            algorithm(train_freq=value)
    with pytest.raises(ValueError, match=exactly("decode_rows must be at least 1, got 0.")):
        algorithm(decode_rows=0)
    with pytest.raises(ValueError, match=exactly("n_quantiles must be at least 1, got 0.")):
        algorithm(QRDQN, policy_kwargs={"model": gpt2_config(), "n_quantiles": 0})  # type: ignore[arg-type]


def test_quantiles_of_too_large_a_vocabulary_are_refused_with_the_memory_they_would_need() -> None:
    message = (
        "An update would need about 17.9 GiB, for 200 quantiles of each of 12 tokens after each of 400000 contexts, "
        "above 4 GiB; lower batch_size or policy_kwargs['n_quantiles'], or take DQN or DoubleDQN."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(QRDQN, batch_size=400_000, policy_kwargs={"n_quantiles": 200})  # type: ignore[arg-type]


def test_the_policy_works_by_itself(tmp_path: Any) -> None:
    """Stable-Baselines3's own save and load of a policy."""
    model = algorithm()
    model.policy.save(str(tmp_path / "policy.pth"))
    loaded = GPT2QPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert loaded.q_net.advantage_scale == 0.5
    observation: Any = TextGenVecEnv(30, letter_task()).reset()
    assert (loaded.predict(observation)[0] == model.predict(observation, deterministic=True)[0]).all()
