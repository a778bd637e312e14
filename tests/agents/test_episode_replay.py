"""What the replay of whole episodes gives, against transitions written out one by one."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.tiny import exactly, letter_task
from textgym.agents import TextGenVecEnv
from textgym.agents.episode_replay import EpisodeReplay
from textgym.agents.flat_episodes import EpisodeRecord

# Prompt, generated tokens and rewards; no two rewards are alike.
EPISODES = [
    ([1], [4, 5, 6], [0.1, 0.2, 0.4]),
    ([2, 3, 1], [7], [0.8]),
    ([5, 5], [1, 2, 3, 4, 11], [1.6, 3.2, 6.4, 12.8, 25.6]),
    ([9], [8, 8, 11], [0.05, 0.15, 0.35]),
]


def record(number: int) -> EpisodeRecord:
    prompt, tokens, rewards = EPISODES[number]
    unknown = torch.zeros(len(tokens))
    return EpisodeRecord(prompt, tokens, torch.tensor(rewards), unknown, unknown)


def make_replay(episodes: list[int] | None = None, buffer_size: int = 100, **settings: Any) -> EpisodeReplay:
    env = TextGenVecEnv(1, letter_task())
    replay = EpisodeReplay(buffer_size, env.observation_space, env.action_space, "cpu", **settings)
    replay.append([record(number) for number in (range(len(EPISODES)) if episodes is None else episodes)])
    return replay


def context_at(observations: Any, number: int) -> tuple[int, ...]:
    """Read the context of a packed batch's decision, by hand."""
    rows, columns = observations["is_decision"].nonzero(as_tuple=True)
    index = int(observations["selected"][number])
    return tuple(observations["input_ids"][rows[index], : columns[index] + 1].tolist())


def read(samples: Any, number: int) -> tuple[Any, ...]:
    """Return context, action, next context, end, reward, discount and tokens generated before, of a transition."""
    return (
        context_at(samples.observations, number),
        int(samples.actions[number]),
        context_at(samples.next_observations, number),
        bool(samples.dones[number]),
        round(float(samples.rewards[number]), 4),
        round(float(samples.discounts[number]), 4),
        int(samples.observations["n_generated"][number]),
        int(samples.next_observations["n_generated"][number]),
    )


def expected_transitions(n_steps: int, gamma: float) -> dict[tuple[Any, ...], int]:
    """Write out all transitions, with the episode of each."""
    found = {}
    for episode, (prompt, tokens, rewards) in enumerate(EPISODES):
        for step, token in enumerate(tokens):
            after = min(step + n_steps, len(tokens))
            reward = sum(gamma ** (index - step) * rewards[index] for index in range(step, after))
            is_end = after == len(tokens)
            row = ((*prompt, *tokens[:step]), token, (*prompt, *tokens[:after]), is_end, round(reward, 4))
            found[(*row, round(gamma ** (after - step), 4), step, after)] = episode
    return found


@pytest.mark.parametrize(("n_steps", "gamma"), [(1, 1.0), (1, 0.9), (2, 0.9), (3, 1.0), (10, 0.5)])
def test_all_transitions_are_those_written_out(n_steps: int, gamma: float) -> None:
    replay = make_replay(n_steps=n_steps, gamma=gamma)
    episodes = np.array([2, 1, 0, 3])
    samples = replay.transitions(episodes, np.arange(12))
    expected = expected_transitions(n_steps, gamma)
    assert {read(samples, number) for number in range(12)} == set(expected)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 30])
def test_a_minibatch_has_exactly_its_size_and_is_whole_episodes_but_for_one(batch_size: int) -> None:
    replay = make_replay()
    expected = expected_transitions(1, 1.0)
    for _ in range(20):
        samples: Any = replay.sample(batch_size)
        assert samples.actions.shape == samples.rewards.shape == samples.dones.shape == (batch_size, 1)
        counts = np.zeros(len(EPISODES))
        for number in range(batch_size):
            counts[expected[read(samples, number)]] += 1
        lengths = np.array([len(tokens) for _, tokens, _ in EPISODES])
        assert (counts % lengths != 0).sum() <= 1
        sizes = samples.observations["attention_mask"].sum(dim=1).tolist()
        assert sizes == sorted(sizes, reverse=True)


def test_every_transition_is_drawn_about_equally_often() -> None:
    replay = make_replay()
    counts = dict.fromkeys(expected_transitions(1, 1.0), 0)
    for _ in range(300):
        samples = replay.sample(40)
        for number in range(40):
            counts[read(samples, number)] += 1
    shares = np.array(list(counts.values())) / (300 * 40)
    assert shares.min() > 0.8 / 12
    assert shares.max() < 1.2 / 12


def test_the_oldest_episodes_make_room() -> None:
    replay = make_replay(buffer_size=9)
    assert replay.lengths.tolist() == [1, 5, 3]
    assert replay.full
    assert replay.size() == 9
    replay.append([record(0), record(1)])
    assert replay.lengths.tolist() == [3, 3, 1]
    assert replay.token_ids.tolist() == [9, 8, 8, 11, 1, 4, 5, 6, 2, 3, 1, 7]
    assert replay.rewards.tolist() == pytest.approx([0.05, 0.15, 0.35, 0.1, 0.2, 0.4, 0.8])
    replay.append([record(2), record(2)])
    assert replay.lengths.tolist() == [5]
    assert make_replay([2], buffer_size=3).size() == 5


def test_candidates_stay_with_their_tokens() -> None:
    """The next state's candidates are those of the decision there, whatever was dropped in between."""
    replay = make_replay([1, 0], n_steps=2)
    replay.append_considered(torch.tensor([[0, 1], [10, 11], [20, 21], [30, 31]]))
    samples: Any = replay.transitions(np.array([1, 0]), np.arange(4))
    assert samples.next_observations["considered"][0].tolist() == [30, 31]
    assert "considered" not in samples.observations
    replay.buffer_size = 7
    replay.append([record(3)])
    replay.append_considered(torch.tensor([[40, 41], [50, 51], [60, 61]]))
    assert replay.considered is not None
    assert replay.considered.tolist() == [[0, 1], [10, 11], [20, 21], [30, 31], [40, 41], [50, 51], [60, 61]]
    replay.append([record(1)])
    replay.append_considered(torch.tensor([[70, 71]]))
    assert replay.considered[:, 0].tolist() == [10, 20, 30, 40, 50, 60, 70]


def test_minibatches_follow_from_the_seed_and_go_on_after_pickling() -> None:
    one, same, other = make_replay(seed=3), make_replay(seed=3), make_replay(seed=4)
    drawn = [one.sample(6).actions.tolist() for _ in range(4)]
    assert [same.sample(6).actions.tolist() for _ in range(2)] == drawn[:2]
    loaded = pickle.load(io.BytesIO(pickle.dumps(same)))
    assert [loaded.sample(6).actions.tolist() for _ in range(2)] == drawn[2:]
    assert [other.sample(6).actions.tolist() for _ in range(4)] != drawn


def test_what_the_replay_cannot_do_is_an_error() -> None:
    env = TextGenVecEnv(1, letter_task())
    spaces = (env.observation_space, env.action_space)
    with pytest.raises(ValueError, match=exactly("The replay is empty; append a rollout's episodes first.")):
        EpisodeReplay(10, *spaces).sample(2)
    message = "EpisodeReplay keeps whole episodes, not single transitions; use append([EpisodeRecord(…)])."
    with pytest.raises(ValueError, match=exactly(message)):
        make_replay().add()
    for name in ("buffer_size", "n_steps"):
        arguments: Any = {"buffer_size": 10, name: 0}
        with pytest.raises(ValueError, match=exactly(f"{name} must be at least 1, got 0.")):
            EpisodeReplay(arguments.pop("buffer_size"), *spaces, **arguments)
    message = "optimize_memory_usage must be False: each token is stored once as it is."
    with pytest.raises(ValueError, match=exactly(message)):
        EpisodeReplay(10, *spaces, optimize_memory_usage=True)
