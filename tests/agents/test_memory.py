"""The memory of one update of a GPT-2 of 124 million parameters, on a whole rollout as one minibatch."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

GIGABYTE = 1 << 30
UPDATE = """
import sys
import numpy as np
import torch
from gymnasium import spaces
from transformers import GPT2Config
from textgym.agents.flat_episodes import EpisodeRecord
from textgym.agents.episode_buffer import EpisodeBuffer
from textgym.agents.policy import GPT2Policy
from textgym.agents.reference import Reference

n_episodes, prompt_length, length = int(sys.argv[1]) // 64, 16, 64
box = lambda dtype: spaces.Box(0, 60_000 if dtype == np.int64 else 1, (prompt_length + length,), dtype)
observations = spaces.Dict(input_ids=box(np.int64), attention_mask=box(np.int8), is_generated=box(np.int8))
policy = GPT2Policy(
    observations, spaces.Discrete(50_257), lambda _: 1e-5, model=GPT2Config(), micro_batch_size=1024
)
reference = Reference(policy)
buffer = EpisodeBuffer(1, observations, spaces.Discrete(50_257))
generator, zeros = np.random.default_rng(0), torch.zeros(length)
ids = generator.integers(50_256, size=(n_episodes, prompt_length + length)).tolist()
buffer.reset()
buffer.fill([EpisodeRecord(row[:prompt_length], row[prompt_length:], zeros + 1, zeros, zeros) for row in ids])
buffer.estimate_returns()
policy.set_training_mode(True)
for batch in buffer.get(None):
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions)
    loss = (values[:, 0] - batch.returns).square().mean() - (log_prob * batch.advantages).mean() - entropy.mean()
    policy.optimizer.zero_grad()
    loss.backward()
    policy.optimizer.step()
print(len(batch.actions))
"""


@pytest.mark.slow
def test_a_whole_rollout_of_gpt2s_fits_in_8_gigabytes() -> None:
    """Of A2C: 8,192 tokens in one minibatch, with Adam's moments and the reference, in micro-batches of 1,024."""
    command = [sys.executable, "-c", UPDATE, "8192"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert int(result.stdout) == 8192
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 < 8 * GIGABYTE
