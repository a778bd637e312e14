"""A value-based policy takes its best token, or with probability ε one of another distribution, row by row."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.tiny import VOCAB_SIZE, exactly, full_logits, gpt2_config, language_model, letter_task
from textgym.agents import DQN, TextGenVecEnv, generate_episodes
from textgym.agents.exploration import Exploration
from textgym.task import TextTask

N_DRAWS = 4_000


def algorithm(task: TextTask, **settings: Any) -> DQN:
    """An algorithm whose network is another than its reference."""
    policy_kwargs = {"model": language_model(seed=3), "advantage_scale": 0.5}
    defaults = {"policy_kwargs": policy_kwargs, "reference": language_model(), "seed": 0, "device": "cpu"}
    return DQN("GPT2Policy", TextGenVecEnv(2, task), **{**defaults, **settings})


def shares(model: DQN, prompt: list[int], rate: float) -> np.ndarray:
    """Return how often each token is chosen after a prompt, over uniform numbers that are evenly spread."""
    uniforms = (torch.arange(N_DRAWS) + 0.5) / N_DRAWS
    obs = {
        "input_ids": torch.tensor([prompt]),
        "attention_mask": torch.ones(1, len(prompt), dtype=torch.int8),
        "is_generated": torch.zeros(1, len(prompt), dtype=torch.int8),
    }
    network = model.network
    with torch.no_grad(), network.exploration.at_rate(rate):
        hidden, n_generated = network.choices(obs)
        tokens, log_prob = network.choose(hidden.expand(N_DRAWS, -1), n_generated.expand(N_DRAWS), uniforms)
    counts = np.bincount(tokens.numpy(), minlength=VOCAB_SIZE) / N_DRAWS
    # The log-probability is that of what was drawn from.
    expected = np.zeros(VOCAB_SIZE)
    expected[tokens.numpy()] = log_prob.exp().numpy()
    np.testing.assert_allclose(counts, expected, atol=1.5 / N_DRAWS * VOCAB_SIZE)
    return counts


def best_token(model: DQN, prompt: list[int], allowed: list[int]) -> int:
    """Q's order among a context's tokens is that of the logits."""
    logits = full_logits(model.network, prompt)  # type: ignore[arg-type]
    return max(allowed, key=lambda token: float(logits[token]))


@pytest.mark.parametrize("kind", ["reference", "uniform"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_tokens_are_drawn_from_the_mixture(kind: Any, rate: float) -> None:
    model = algorithm(letter_task(banned_token_ids=[2]), exploration=kind)
    prompt = [1, 5, 3]
    allowed = [token for token in range(VOCAB_SIZE) if token != 2]
    explored = np.zeros(VOCAB_SIZE)
    if kind == "uniform":
        explored[allowed] = 1 / len(allowed)
    else:
        explored[allowed] = full_logits(model.network.exploration.reference, prompt)[allowed].softmax(0).numpy()
    expected = rate * explored
    expected[best_token(model, prompt, allowed)] += 1 - rate
    np.testing.assert_allclose(shares(model, prompt, rate), expected, atol=2 / N_DRAWS)


@pytest.mark.parametrize("kind", ["reference", "uniform"])
def test_only_candidates_are_taken(kind: Any) -> None:
    model = algorithm(letter_task(banned_token_ids=[2]), exploration=kind, candidates=3)
    prompt = [4, 4]
    logits = full_logits(model.network.exploration.reference, prompt)
    logits[2] = -torch.inf
    candidates = logits.topk(3).indices.tolist()
    explored = np.zeros(VOCAB_SIZE)
    explored[candidates] = logits[candidates].softmax(0).numpy() if kind == "reference" else 1 / 3
    expected = 0.4 * explored
    expected[best_token(model, prompt, candidates)] += 0.6
    np.testing.assert_allclose(shares(model, prompt, 0.4), expected, atol=2 / N_DRAWS)


CASES: dict[str, dict[str, Any]] = {
    "reference": {},
    "uniform": {"exploration": "uniform"},
    "candidates": {"candidates": 4},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_what_is_generated_does_not_depend_on_the_rows(settings: dict[str, Any]) -> None:
    """It is a function of seed, episode, weights and ε: whatever is beside it, and however rows are refilled."""
    task = letter_task(max_new_tokens=12)
    model = algorithm(task, **settings)
    texts = []
    with model.network.exploration.at_rate(0.5):
        for num_rows, is_static in ((1, False), (5, False), (24, True)):
            episodes = generate_episodes(
                model.network, task, range(24), seed=1, num_rows=num_rows, lookahead=3, is_static=is_static
            )
            texts.append([item.text.token_ids for item in episodes])
    assert texts[0] == texts[1] == texts[2]
    assert len({len(tokens) for tokens in texts[0]}) > 1
    assert len(set(texts[0])) > 10


def test_a_generated_token_is_the_one_that_a_single_context_gives() -> None:
    """The pair of caches against whole contexts, through the same uniform numbers."""
    task = letter_task()
    model = algorithm(task, candidates=5)
    network = model.network
    with torch.no_grad(), network.exploration.at_rate(0.5):
        for item in generate_episodes(network, task, range(6), seed=2):
            from textgym.agents.sampling import episode_uniforms

            uniforms = torch.from_numpy(episode_uniforms(2, [item.number], task.max_new_tokens)[0])
            prompt = item.text.prompt.token_ids
            for step, token in enumerate(item.text.token_ids):
                context = torch.tensor([[*prompt, *item.text.token_ids[:step]]])
                mask = torch.ones_like(context)
                is_generated = torch.arange(context.shape[1])[None] >= len(prompt)
                obs = {"input_ids": context, "attention_mask": mask, "is_generated": is_generated}
                chosen, log_prob = network.choose(*network.choices(obs), uniforms[step : step + 1])
                assert int(chosen) == token
                assert float(log_prob) == pytest.approx(float(item.log_prob[step]), abs=1e-4)


def test_predict_explores_at_the_rate_of_training_unless_it_is_deterministic() -> None:
    task = letter_task()
    model = algorithm(task)
    observation: Any = TextGenVecEnv(200, task).reset()
    greedy, _ = model.predict(observation, deterministic=True)
    model.exploration_rate = 1.0
    torch.manual_seed(0)
    explored, _ = model.predict(observation)
    assert (model.predict(observation, deterministic=True)[0] == greedy).all()
    assert (explored != greedy).mean() > 0.3
    model.exploration_rate = 0.0
    assert (model.predict(observation)[0] == greedy).all()


def test_what_cannot_be_explored_with_is_an_error() -> None:
    with pytest.raises(ValueError, match=exactly("candidates must be at least 1, got 0.")):
        Exploration(candidates=0)
    kind: Any = "gaussian"
    message = "exploration must be one of ('reference', 'uniform'), got 'gaussian'."
    with pytest.raises(ValueError, match=exactly(message)):
        Exploration(kind)
    message = (
        "exploration='reference' with candidates=None needs a reference; pass reference='initial' or a model, or "
        "exploration='uniform' and candidates=None."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        algorithm(letter_task(), reference=None)
    assert algorithm(letter_task(), reference=None, exploration="uniform").find_reference() is None


def test_the_first_values_are_the_language_models_log_probabilities() -> None:
    """Q = V + τ log π with V = 0; a forbidden token has a finite value far below all others."""
    task = letter_task(banned_token_ids=[1, 7])
    policy_kwargs = {"model": language_model(gpt2_config()), "advantage_scale": 3.0}
    model = algorithm(task, policy_kwargs=policy_kwargs)
    obs = {
        "input_ids": torch.tensor([[3, 8]]),
        "attention_mask": torch.ones(1, 2),
        "is_generated": torch.zeros(1, 2),
    }
    with torch.no_grad():
        (q_values,) = model.policy.q_net(obs)
    logits = full_logits(model.network, [3, 8])  # type: ignore[arg-type]
    logits[[1, 7]] = -torch.inf
    allowed = [token for token in range(VOCAB_SIZE) if token not in (1, 7)]
    torch.testing.assert_close(q_values[allowed], 3.0 * logits.log_softmax(0)[allowed])
    assert bool(q_values.isfinite().all())
    assert float(q_values[[1, 7]].max()) < -1e37


def test_a_scale_that_is_not_above_0_is_an_error() -> None:
    with pytest.raises(ValueError, match=exactly("advantage_scale must be above 0, got 0.")):
        algorithm(letter_task(), policy_kwargs={"model": gpt2_config(), "advantage_scale": 0})
