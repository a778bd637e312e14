"""The rollout of whole episodes: advantages by hand, each token once, and nothing that depends on the packing."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

import textgym.agents.policy
from tests.agents.tiny import EOS, VOCAB_SIZE, exactly, letter_policy, letter_task, single_context
from textgym.agents import GPT2Policy, generate_episodes
from textgym.agents.advantages import generalized_advantages
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.agents.ranges import joined_ranges
from textgym.env import observation_space
from textgym.task import TextTask

# Episodes of 3, 1 and 2 tokens.
REWARDS = torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0], [0.5, -1.0, 0.0]])
VALUES = torch.tensor([[0.5, 0.25, 0.75], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])


@pytest.mark.parametrize(
    ("gamma", "gae_lambda", "expected"),
    [
        # δ of the first episode: 0.25 − 0.5, 0.75 − 0.25, 1 − 0.75; of the third: 0.5 + 2 − 0, −1 − 2.
        (1.0, 0.0, [[-0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [2.5, -3.0, 0.0]]),
        # The sum of rewards from here on, less the value.
        (1.0, 1.0, [[0.5, 0.75, 0.25], [1.0, 0.0, 0.0], [-0.5, -3.0, 0.0]]),
        # A_2 = 0.25, A_1 = 0.5 + 0.5 · 0.25 = 0.625, A_0 = −0.25 + 0.5 · 0.625.
        (1.0, 0.5, [[0.0625, 0.625, 0.25], [1.0, 0.0, 0.0], [1.0, -3.0, 0.0]]),
        # δ: 0.125 − 0.5, 0.375 − 0.25, 0.25; A_1 = 0.125 + 0.25 · 0.25, A_0 = −0.375 + 0.25 · 0.1875.
        (0.5, 0.5, [[-0.328125, 0.1875, 0.25], [1.0, 0.0, 0.0], [0.75, -3.0, 0.0]]),
    ],
)
def test_advantages_by_hand(gamma: float, gae_lambda: float, expected: list[list[float]]) -> None:
    advantages = generalized_advantages(REWARDS, VALUES, gamma, gae_lambda)
    torch.testing.assert_close(advantages, torch.tensor(expected))


def test_rewards_and_values_of_different_shape_are_an_error() -> None:
    message = "rewards and values must have one shape, got torch.Size([1, 2]) and torch.Size([1, 3])."
    with pytest.raises(ValueError, match=exactly(message)):
        generalized_advantages(torch.zeros(1, 2), torch.zeros(1, 3), 1.0, 1.0)


def empty_buffer(task: TextTask, gamma: float = 1.0, gae_lambda: float = 0.95, seed: int = 0) -> EpisodeBuffer:
    return EpisodeBuffer(
        16, observation_space(task), spaces.Discrete(VOCAB_SIZE), "cpu", gae_lambda, gamma, n_envs=4, seed=seed
    )


def invented(lengths: list[int], seed: int = 0, n_prompt: int | None = None) -> list[EpisodeRecord]:
    """Make episodes of given lengths; the log-probability of the n-th token of all is −n, so that it can be told."""
    generator = np.random.default_rng(seed)
    records, count = [], 0
    for length in lengths:
        numbers = torch.tensor(generator.normal(size=(2, length)), dtype=torch.float32)
        names = -torch.arange(count, count + length, dtype=torch.float32)
        prompt = generator.integers(VOCAB_SIZE, size=n_prompt or int(generator.integers(1, 6))).tolist()
        tokens = generator.integers(VOCAB_SIZE, size=length).tolist()
        records.append(EpisodeRecord(prompt, tokens, numbers[0], numbers[1], names))
        count += length
    return records


def filled(lengths: list[int], seed: int = 0) -> EpisodeBuffer:
    buffer = empty_buffer(letter_task(), seed=seed)
    buffer.fill(invented(lengths))
    buffer.estimate_returns()
    return buffer


def test_advantages_and_returns_are_those_of_sb3s_buffer() -> None:
    records = invented([3, 1, 8, 2, 8, 1])
    ours = empty_buffer(letter_task(), gamma=0.9, gae_lambda=0.7)
    ours.fill(records)
    ours.estimate_returns()
    theirs = RolloutBuffer(23, spaces.Discrete(2), spaces.Discrete(2), "cpu", gae_lambda=0.7, gamma=0.9)
    for record in records:
        for step in range(len(record.token_ids)):
            reward = np.array([float(record.rewards[step])])
            theirs.add(
                np.zeros(1), np.zeros(1), reward, np.array([step == 0]), record.values[step], record.log_prob[step]
            )
    theirs.compute_returns_and_advantage(torch.zeros(1), np.array([True]))
    np.testing.assert_allclose(ours.advantages.numpy(), theirs.advantages.flatten(), atol=1e-6)
    np.testing.assert_allclose(ours.target_returns.numpy(), theirs.returns.flatten(), atol=1e-6)
    np.testing.assert_allclose(ours.returns, theirs.returns.flatten(), atol=1e-6)
    np.testing.assert_allclose(ours.values, theirs.values.flatten())


def test_rewards_may_come_after_the_texts() -> None:
    records = invented([3, 1, 8])
    first, later = empty_buffer(letter_task()), empty_buffer(letter_task())
    first.fill(records)
    later.fill([record._replace(rewards=torch.zeros(len(record.token_ids))) for record in records])
    with pytest.raises(ValueError, match=exactly("There must be a reward for each of 12 tokens, got 11.")):
        later.pay([record.rewards for record in records[:1]] + [torch.zeros(8)])
    later.pay([record.rewards for record in records])
    for buffer in (first, later):
        buffer.estimate_returns()
    assert torch.equal(first.rewards, later.rewards)
    assert torch.equal(first.advantages, later.advantages)


@pytest.mark.parametrize("lengths", [[3, 5], [1, 2]])
def test_the_first_decision_is_that_of_the_first_episode(lengths: list[int]) -> None:
    buffer = filled(lengths)
    buffer.frozen_hidden = torch.arange(2.0 * len(buffer.token_ids)).view(-1, 2)
    buffer.candidates = torch.arange(3 * sum(lengths), dtype=torch.uint8).view(-1, 3)
    whole, decision = buffer.packed(np.arange(1)), buffer.first_decision()
    n_prompt = int(buffer.prompt_lengths[0])
    assert decision.keys() == whole.keys()
    for key in ("input_ids", "attention_mask", "frozen_hidden"):
        assert decision[key].equal(whole[key][:, : n_prompt + 1])
    assert decision["is_decision"].nonzero().tolist() == [[0, n_prompt - 1]]
    assert whole["is_decision"][0].nonzero()[0].item() == n_prompt - 1
    assert decision["candidates"].equal(whole["candidates"][:1])


def test_ranges_are_joined_from_each_start() -> None:
    assert joined_ranges(np.array([5, 0, 7]), np.array([2, 3, 1])).tolist() == [5, 6, 0, 1, 2, 7]


LENGTHS = {
    "ragged": [3, 1, 8, 2, 8, 1, 5, 4, 4, 7, 1, 1, 6, 8, 3, 2],
    "equal": [4] * 12,
    "ones": [1] * 50,
    "one_long_among_ones": [1, 1, 8, 1, 1, 1],
    "two": [1, 8],
}


@pytest.mark.parametrize("batch_size", [None, 2, 7, 16, 1_000])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_minibatches_partition_the_rollout(lengths: list[int], batch_size: int | None) -> None:
    """In each epoch: every token once, as many minibatches, nearly equal, and none of a single token."""
    buffer = filled(lengths)
    total, longest = sum(lengths), max(lengths)
    counts = set()
    for _ in range(20):
        batches = list(buffer.get(batch_size))
        names = torch.cat([batch.old_log_prob for batch in batches])
        assert sorted((-names).int().tolist()) == list(range(total))
        sizes = [len(batch.old_log_prob) for batch in batches]
        counts.add(len(sizes))
        assert min(sizes) >= 2
        assert max(abs(size - total / len(sizes)) for size in sizes) <= longest
        for batch in batches:
            n_tokens = len(batch.old_log_prob)
            parts = (batch.actions, batch.old_values, batch.advantages, batch.returns)
            assert all(part.shape == (n_tokens,) for part in parts)
    assert len(counts) == 1
    n_batches = counts.pop()
    if batch_size is None or batch_size >= total:
        assert n_batches == 1
    elif batch_size > longest:
        assert n_batches == round(total / batch_size)


def test_a_sample_belongs_together() -> None:
    """Each row of a minibatch against the records, found by the names that the log-probabilities are."""
    records = invented([3, 1, 8, 2, 5])
    buffer = empty_buffer(letter_task())
    buffer.fill(records)
    buffer.estimate_returns()
    first_name = {0: 0, 3: 1, 4: 2, 12: 3, 14: 4}
    for batch in buffer.get(8):
        observations: dict[str, Tensor] = batch.observations  # type: ignore[assignment]
        start = 0
        for ids, mask, is_decision in zip(*observations.values(), strict=True):
            record = records[first_name[int(-batch.old_log_prob[start])]]
            n_prompt, length = len(record.prompt_ids), len(record.token_ids)
            part = slice(start, start + length)
            start += length
            assert ids[mask].tolist() == [*record.prompt_ids, *record.token_ids]
            assert mask.nonzero()[:, 0].tolist() == list(range(n_prompt + length))
            # The positions whose next token the policy chose.
            assert is_decision.nonzero()[:, 0].tolist() == list(range(n_prompt - 1, n_prompt + length - 1))
            assert batch.actions[part].tolist() == list(record.token_ids)
            assert torch.equal(batch.old_values[part], record.values)
            assert torch.equal(batch.old_log_prob[part], record.log_prob)
            torch.testing.assert_close(batch.returns[part], batch.advantages[part] + record.values)
        assert start == len(batch.actions)


def test_epochs_shuffle_and_seeds_repeat() -> None:
    def orders(seed: int) -> list[list[int]]:
        buffer = filled([2] * 30, seed=seed)
        return [[int(name) for batch in buffer.get(8) for name in batch.old_log_prob] for _ in range(3)]

    assert orders(0) == orders(0)
    assert orders(0) != orders(1)
    first = orders(0)
    assert first[0] != first[1] != first[2]


def test_a_transition_takes_at_most_40_bytes() -> None:
    """At prompts of 16 tokens and 240 new ones; a context a transition would take 256 × 10."""
    task = letter_task(max_prompt_tokens=16, max_new_tokens=240)
    buffer = empty_buffer(task)
    buffer.fill(invented([240] * 20, n_prompt=16))
    buffer.estimate_returns()
    storage = {id(value): value for value in vars(buffer).values() if isinstance(value, Tensor | np.ndarray)}
    n_bytes = sum(value.nbytes for value in storage.values())
    assert n_bytes / buffer.n_tokens <= 40


def test_bad_rollouts_are_errors() -> None:
    buffer = empty_buffer(letter_task())
    message = "The buffer is empty; fill it with a rollout's episodes first."
    with pytest.raises(ValueError, match=exactly(message)):
        next(buffer.get(4))
    with pytest.raises(ValueError, match=exactly("A rollout needs at least one episode, got none.")):
        buffer.fill([])
    record = invented([3])[0]
    what = "token_ids, rewards, values and log_prob must be equally long, and have at least one entry, got lengths"
    with pytest.raises(ValueError, match=exactly(f"{what} [2, 3].")):
        buffer.fill([record._replace(rewards=torch.zeros(2))])
    nothing = torch.zeros(0)
    with pytest.raises(ValueError, match=exactly(f"{what} [0].")):
        buffer.fill([EpisodeRecord([1], [], nothing, nothing, nothing)])


def generated(policy: GPT2Policy, task: TextTask, n_episodes: int = 16) -> EpisodeBuffer:
    buffer = empty_buffer(task)
    episodes = generate_episodes(policy, task, range(n_episodes), seed=0, num_rows=5)
    buffer.fill(
        [
            EpisodeRecord(
                item.text.prompt.token_ids,
                item.text.token_ids,
                torch.zeros(len(item.text.token_ids)),
                item.values,
                item.log_prob,
            )
            for item in episodes
        ]
    )
    buffer.estimate_returns()
    return buffer


RULES = {"plain": {}, "rules": {"banned_token_ids": [2, 3], "min_new_tokens": 3}}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_rescored_log_prob_is_the_sampled_one(rules: dict[str, object], temperature: float) -> None:
    task = letter_task(**rules)
    policy = letter_policy(task, temperature=temperature)
    for batch in generated(policy, task).get(30):
        with torch.no_grad():
            values, log_prob, _ = policy.evaluate_actions(batch.observations, batch.actions)
        torch.testing.assert_close(log_prob, batch.old_log_prob, atol=1e-4, rtol=0)
        torch.testing.assert_close(values.flatten(), batch.old_values, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_packed_batch_equals_its_contexts_one_by_one(rules: dict[str, object]) -> None:
    """Values, log-probabilities, entropies, distributions and gradients."""
    task = letter_task(**rules)
    policy = letter_policy(task, temperature=0.8)
    batch = next(generated(policy, task, 6).get(None))
    observations: dict[str, Tensor] = batch.observations  # type: ignore[assignment]
    packed = policy.evaluate_actions(observations, batch.actions)
    distribution = policy.get_distribution(observations).distribution
    packed_values = policy.predict_values(observations)
    singles, start = [], 0
    for ids, is_decision in zip(observations["input_ids"].tolist(), observations["is_decision"], strict=True):
        n_prompt, length = int(is_decision.nonzero()[0, 0]) + 1, int(is_decision.sum())
        for step in range(length):
            context = single_context(task, ids[:n_prompt], ids[n_prompt : n_prompt + step])
            one = {key: torch.as_tensor(array)[None] for key, array in context.items()}
            action = batch.actions[start : start + 1]
            singles.append(policy.evaluate_actions(one, action))
            assert distribution is not None
            expected = policy.get_distribution(one).distribution.probs[0]  # type: ignore[union-attr]
            torch.testing.assert_close(distribution.probs[start], expected, atol=1e-5, rtol=0)  # type: ignore[union-attr]
            torch.testing.assert_close(packed_values[start], policy.predict_values(one)[0], atol=1e-5, rtol=0)
            start += 1
    together = [torch.cat(parts) for parts in zip(*singles, strict=True)]
    weights = torch.randn(start, generator=torch.Generator().manual_seed(0))
    gradients = []
    for values, log_prob, entropy in (packed, together):
        policy.zero_grad()
        (weights * (values.flatten() + 2 * log_prob + 3 * entropy)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None])
    for ours, theirs in zip(packed, together, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_what_stands_in_the_padding_changes_nothing() -> None:
    task = letter_task()
    policy = letter_policy(task)
    batch = next(generated(policy, task).get(None))
    observations: dict[str, Tensor] = dict(batch.observations)
    garbage = torch.where(observations["attention_mask"], observations["input_ids"], 5)
    wider = {
        "input_ids": torch.nn.functional.pad(garbage, (0, 4), value=7),
        "attention_mask": torch.nn.functional.pad(observations["attention_mask"], (0, 4)),
        "is_decision": torch.nn.functional.pad(observations["is_decision"], (0, 4)),
    }
    with torch.no_grad():
        for ours, theirs in zip(
            policy.evaluate_actions(observations, batch.actions),
            policy.evaluate_actions(wider, batch.actions),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    context = single_context(task, [1, 2], [3])
    one = {key: torch.as_tensor(array)[None] for key, array in context.items()}
    other = {**one, "input_ids": torch.where(one["attention_mask"].bool(), one["input_ids"], EOS - 1)}
    with torch.no_grad():
        for ours, theirs in zip(
            policy.evaluate_actions(one, torch.tensor([4])),
            policy.evaluate_actions(other, torch.tensor([4])),
            strict=True,
        ):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("tokens_per_chunk", [1, 7, 40])
def test_logits_in_chunks_change_nothing(tokens_per_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task = letter_task(min_new_tokens=2)
    policy = letter_policy(task)
    batch = next(generated(policy, task).get(None))
    assert len(batch.actions) > 80
    results = []
    for limit in (1 << 24, VOCAB_SIZE * tokens_per_chunk):
        monkeypatch.setattr(textgym.agents.language_head, "MAX_LOGITS_PER_CHUNK", limit)
        policy.zero_grad()
        _, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions)
        (log_prob.mean() + entropy.mean()).backward()
        gradients = [parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None]
        with torch.no_grad():
            again = policy.evaluate_actions(batch.observations, batch.actions)[1]
        results.append([log_prob.detach(), entropy.detach(), again, *gradients])
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked, atol=1e-5, rtol=1e-5)
