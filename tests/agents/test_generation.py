"""Cached decoding equals full forwards, and what is generated depends on nothing but policy, task, seed and number."""

import gc
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.agents.tiny import (
    EOS,
    LETTERS,
    VOCAB_SIZE,
    exactly,
    full_logits,
    gpt2_config,
    language_model,
    letter_policy,
    letter_task,
    llama_config,
    single_context,
)
from textgym.agents import PPO, GPT2Policy, TextGenVecEnv, generate_episodes
from textgym.agents.decoder import Decoder, Sampling
from textgym.agents.generation import GeneratedEpisode
from textgym.agents.kv_cache import RowCache, RowCacheLayer
from textgym.agents.sampling import episode_uniforms
from textgym.agents.token_rules import TokenRules
from textgym.task import TextTask

CONFIGS = {
    "gpt2": gpt2_config(),
    "gpt2-eager": gpt2_config(attn_implementation="eager"),
    "llama": llama_config(),
    "llama-eager": llama_config(attn_implementation="eager"),
}


def contents(episodes: list[GeneratedEpisode]) -> list[tuple[int, str, tuple[int, ...], str]]:
    """Return what has to be the same, number for number and token for token."""
    return [(item.number, item.text.prompt.text, item.text.token_ids, item.text.finish_reason) for item in episodes]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("attends_to_all", [True, False])
def test_cached_decoding_gives_the_hidden_states_of_a_full_forward(name: str, attends_to_all: bool) -> None:
    task = letter_task()
    policy = letter_policy(task, language_model(CONFIGS[name]))
    generator = np.random.default_rng(3)
    cache = RowCache(policy.language_model.config.num_hidden_layers, 3, 20, policy.device)
    texts = [generator.integers(VOCAB_SIZE, size=length).tolist() for length in (1, 6, 3)]

    def append(rows: list[int], new: list[list[int]]) -> None:
        """Append as many tokens to each row, and compare each position with the plain model's logits."""
        starts = [len(texts[row]) for row in rows]
        positions = torch.tensor([[start + step for step in range(len(new[0]))] for start in starts])
        length = None if attends_to_all else int(positions.max()) + 1
        with torch.no_grad():
            hidden = policy.cached_hidden_states(torch.tensor(new), positions, cache, torch.tensor(rows), length)
            logits = policy.language_model.get_output_embeddings()(hidden)
        for index, row in enumerate(rows):
            texts[row] = texts[row] + new[index]
            for step in range(len(new[0])):
                expected = full_logits(policy, texts[row][: starts[index] + step + 1])
                torch.testing.assert_close(logits[index, step], expected, atol=2e-5, rtol=0)

    prompts, texts = texts, [[], [], []]
    for row, prompt in enumerate(prompts):
        append([row], [prompt])
    for _ in range(4):
        append([0, 1, 2], generator.integers(VOCAB_SIZE, size=(3, 1)).tolist())
    # Refill: the middle row starts anew, shorter than what it still holds, and the rows go on.
    texts[1] = []
    append([1], [[4, 5]])
    for _ in range(3):
        append([0, 1, 2], generator.integers(VOCAB_SIZE, size=(3, 1)).tolist())
    append([2, 0], generator.integers(VOCAB_SIZE, size=(2, 3)).tolist())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("is_static", [True, False])
def test_log_probs_and_values_are_those_of_single_contexts(name: str, is_static: bool) -> None:
    task = letter_task(min_new_tokens=2, banned_token_ids=[3])
    policy = letter_policy(task, language_model(CONFIGS[name]), temperature=0.7)
    episodes = list(generate_episodes(policy, task, range(12), seed=1, num_rows=3, is_static=is_static))
    assert len({len(item.text.token_ids) for item in episodes}) > 2
    for item in episodes:
        ids = item.text.token_ids
        observations = [single_context(task, item.text.prompt.token_ids, ids[:step]) for step in range(len(ids))]
        batch = {key: torch.tensor(np.stack([row[key] for row in observations])) for key in observations[0]}
        with torch.no_grad():
            values, log_prob, _ = policy.evaluate_actions(batch, torch.tensor(ids))
        torch.testing.assert_close(item.log_prob, log_prob, atol=2e-5, rtol=0)
        torch.testing.assert_close(item.values, values.flatten(), atol=2e-5, rtol=0)


def test_tokens_are_what_the_uniforms_say() -> None:
    """By hand: probabilities of the plain model, the first token whose cumulative probability exceeds the number."""
    task = letter_task()
    policy = letter_policy(task)
    for item in generate_episodes(policy, task, range(8), seed=5, num_rows=3):
        uniforms = episode_uniforms(5, [item.number], task.max_new_tokens)[0]
        context = list(item.text.prompt.token_ids)
        for token, uniform in zip(item.text.token_ids, uniforms, strict=False):
            cumulative = full_logits(policy, context).double().softmax(0).cumsum(0)
            assert token == int((cumulative <= float(uniform)).sum())
            context.append(token)
        assert token == EOS or len(item.text.token_ids) == task.max_new_tokens


TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "groups": {"completions_per_prompt": 3},
    "stop": {"stop": ["ab", "h", "ii"], "max_new_tokens": 20},
    "rules": {"min_new_tokens": 3, "banned_token_ids": [0, 7], "prompt_order": "sequential"},
}


@pytest.mark.parametrize("arguments", TASKS.values(), ids=TASKS)
def test_the_same_episodes_come_out_of_any_batch_and_lookahead(arguments: dict[str, Any]) -> None:
    task = letter_task(**arguments)
    policy = letter_policy(task)
    reference: list[GeneratedEpisode] | None = None
    for num_rows, lookahead, is_static in itertools.product([1, 3, 64], [1, 4, 16], [False, True]):
        if num_rows == 1 and lookahead != 4:
            continue  # one row costs most, and its lookahead shows nothing that three rows do not
        episodes = list(
            generate_episodes(
                policy, task, range(5, 45), seed=9, num_rows=num_rows, lookahead=lookahead, is_static=is_static
            )
        )
        if reference is None:
            reference = episodes
            assert [item.number for item in episodes] == list(range(5, 45))
            assert len({len(item.text.token_ids) for item in episodes}) > 3
            assert len({item.text.finish_reason for item in episodes}) == (3 if task.stop else 2)
            continue
        assert contents(episodes) == contents(reference), (num_rows, lookahead, is_static)
        for ours, theirs in zip(episodes, reference, strict=True):
            torch.testing.assert_close(ours.log_prob, theirs.log_prob, atol=2e-5, rtol=0)
            torch.testing.assert_close(ours.values, theirs.values, atol=2e-5, rtol=0)


def test_stop_strings_are_found_where_they_are_however_rows_come_and_go() -> None:
    """Rows that start late, and are moved when the last episodes run out, are looked at from where they were."""
    task = letter_task(stop=["ab", "ba", "cd", "hi"], max_new_tokens=40, banned_token_ids=[EOS])
    policy = letter_policy(task, language_model(gpt2_config(n_positions=64)), temperature=4.0)
    reasons = set()
    for seed in range(8):
        one_by_one = list(generate_episodes(policy, task, range(7), seed=seed, num_rows=7, lookahead=1))
        ahead = list(generate_episodes(policy, task, range(7), seed=seed, num_rows=4, lookahead=8))
        assert contents(ahead) == contents(one_by_one), seed
        reasons |= {item.text.finish_reason for item in ahead}
    assert reasons == {"stop", "length"}


def test_the_same_episode_comes_out_wherever_the_numbers_begin() -> None:
    task = letter_task()
    policy = letter_policy(task)
    whole = contents(list(generate_episodes(policy, task, range(30), seed=2)))
    parts = [contents(list(generate_episodes(policy, task, numbers, seed=2))) for numbers in (range(11), range(11, 30))]
    assert parts[0] + parts[1] == whole


def test_another_seed_gives_other_episodes_and_prompts() -> None:
    task = letter_task()
    policy = letter_policy(task)
    first, second = (contents(list(generate_episodes(policy, task, range(20), seed=seed))) for seed in (0, 1))
    assert [item[1] for item in first] != [item[1] for item in second]
    assert [item[2] for item in first] != [item[2] for item in second]


def test_no_two_episodes_of_a_group_are_bound_to_be_alike() -> None:
    task = letter_task(completions_per_prompt=4)
    episodes = contents(list(generate_episodes(letter_policy(task), task, range(16), seed=0)))
    for start in range(0, 16, 4):
        group = episodes[start : start + 4]
        assert len({prompt for _, prompt, _, _ in group}) == 1
        assert len({token_ids for _, _, token_ids, _ in group}) > 1
    assert len({prompt for _, prompt, _, _ in episodes}) > 1


def test_sequential_prompts_come_in_order() -> None:
    task = letter_task(prompt_order="sequential", completions_per_prompt=2)
    prompts = [item[1] for item in contents(list(generate_episodes(letter_policy(task), task, range(10), seed=0)))]
    assert prompts == ["a", "a", "bcd", "bcd", "ef", "ef", "ghijk", "ghijk", "a", "a"]


def test_random_prompts_are_all_used_about_equally() -> None:
    """300 draws of 4 prompts: 75 expected each, 4 standard deviations are 30."""
    task = letter_task(max_new_tokens=1)
    prompts = Counter(
        item[1] for item in contents(list(generate_episodes(letter_policy(task), task, range(300), seed=0)))
    )
    assert set(prompts) == {"a", "bcd", "ef", "ghijk"}
    assert all(45 < count < 105 for count in prompts.values())


def test_no_episodes_are_no_episodes() -> None:
    task = letter_task()
    assert list(generate_episodes(letter_policy(task), task, range(0), seed=0)) == []


def test_forbidden_tokens_are_never_generated() -> None:
    task = letter_task(min_new_tokens=4, banned_token_ids=[1, 2, 3, 4, 5, 6, 7, 8])
    episodes = list(generate_episodes(letter_policy(task), task, range(60), seed=0))
    used = {token for item in episodes for token in item.text.token_ids}
    assert used == {0, 9, 10, EOS}
    assert min(len(item.text.token_ids) for item in episodes) == 5


def test_greedy_episodes_take_the_most_probable_token() -> None:
    task = letter_task(banned_token_ids=[2])
    policy = letter_policy(task)
    for item in generate_episodes(policy, task, range(4), seed=0, sampling=Sampling(deterministic=True)):
        context = list(item.text.prompt.token_ids)
        for token in item.text.token_ids:
            logits = full_logits(policy, context)
            logits[2] = -torch.inf
            assert token == int(logits.argmax())
            context.append(token)


def test_top_k_leaves_only_the_most_probable_tokens_and_the_log_prob_of_all() -> None:
    task = letter_task()
    policy = letter_policy(task)
    n_second = 0
    for item in generate_episodes(policy, task, range(30), seed=0, sampling=Sampling(top_k=2)):
        context = list(item.text.prompt.token_ids)
        for token, log_prob in zip(item.text.token_ids, item.log_prob, strict=True):
            logits = full_logits(policy, context)
            best = logits.topk(2).indices.tolist()
            assert token in best
            n_second += token == best[1]
            torch.testing.assert_close(log_prob, logits.log_softmax(0)[token], atol=2e-5, rtol=0)
            context.append(token)
    assert n_second > 0


class SpoiltAfterSix(GPT2Policy):
    """Says NaN of every seventh token, which is then the last of the vocabulary, the end."""

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        logits = super().decision_logits(hidden, n_generated, candidates)
        return logits.masked_fill((n_generated == 6)[:, None], torch.nan)


@pytest.mark.parametrize("num_rows", [3, 64])
def test_only_episodes_with_a_log_prob_of_nan_are_said_not_to_be_finite(num_rows: int) -> None:
    task = letter_task()
    policy = letter_policy(task, policy_class=SpoiltAfterSix)
    episodes = list(generate_episodes(policy, task, range(40), seed=0, num_rows=num_rows))
    assert {len(item.text.token_ids) == 7 for item in episodes} == {False, True}
    for item in episodes:
        assert item.is_finite == bool(item.log_prob.isfinite().all()) == (len(item.text.token_ids) < 7)


class CountedOperations(TorchDispatchMode):
    """Counts what a device would be asked to do, but for the network's steps."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.is_in_network = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.is_in_network and not func.is_view:
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    def leave_out(self, owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Do not count what a method does."""
        method = getattr(owner, name)

        def uncounted(*args: Any, **kwargs: Any) -> Any:
            self.is_in_network = True
            try:
                return method(*args, **kwargs)
            finally:
                self.is_in_network = False

        monkeypatch.setattr(owner, name, uncounted)


def test_a_rollout_has_as_many_tensor_operations_where_there_are_more_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU each would be a launch; copies to the host, and what the reward's worker does, are not seen."""
    names = []
    for n_steps in (24, 240):
        task = letter_task(banned_token_ids=[EOS], max_new_tokens=12)
        env = TextGenVecEnv(4, task)
        model = PPO(
            "GPT2Policy", env, n_steps=n_steps, batch_size=48, seed=0, reference=None,
            policy_kwargs={"model": language_model()}, device="cpu",
        )  # fmt: skip
        _, callback = model._setup_learn(4 * n_steps)
        counted = CountedOperations()
        with monkeypatch.context() as patch, counted:
            counted.leave_out(Decoder, "run", patch)
            counted.leave_out(GPT2Policy, "cached_hidden_states", patch)
            model.collect_rollouts(env, callback, model.rollout_buffer, n_steps)
        assert len(model.rollout_buffer.lengths) == n_steps / 3
        names.append(counted.names)
    assert Counter(names[0]) == Counter(names[1])


class OneOrAll(GPT2Policy):
    """Ends half of all episodes with their first token and the others never."""

    def decision_logits(self, hidden: Tensor, n_generated: Tensor, candidates: Tensor | None = None) -> Tensor:
        logits = torch.zeros(len(hidden), self.vocab_size)
        logits[:, EOS] = torch.where(n_generated == 0, torch.tensor(float(VOCAB_SIZE - 1)).log(), -1e4)
        return logits


@pytest.mark.parametrize(("num_rows", "lookahead"), [(3, 1), (7, 4), (64, 16)])
def test_long_and_short_episodes_are_kept_in_the_proportion_in_which_they_were_started(
    num_rows: int, lookahead: int
) -> None:
    """Half of 400 episodes are long, up to 4 standard deviations of 10; dropping unfinished ones would keep fewer."""
    task = letter_task(max_new_tokens=12)
    policy = letter_policy(task, policy_class=OneOrAll)
    episodes = list(generate_episodes(policy, task, range(400), seed=0, num_rows=num_rows, lookahead=lookahead))
    lengths = Counter(len(item.text.token_ids) for item in episodes)
    assert set(lengths) == {1, 12}
    assert 160 <= lengths[12] <= 240


def test_rollouts_keep_every_episode_that_was_started() -> None:
    """Over 12 rollouts: no number is left out or used twice, and half of the episodes are long."""
    task = letter_task(max_new_tokens=12)
    model = PPO(
        OneOrAll, TextGenVecEnv(4, task), n_steps=50, n_epochs=1, seed=0, reference=None,
        policy_kwargs={"model": language_model()}, device="cpu",
    )  # fmt: skip
    lengths: list[int] = []
    fill = model.rollout_buffer.fill
    started = 0

    def keep(episodes: Any) -> None:
        nonlocal started
        fill(episodes)
        expected = generate_episodes(model.policy, task, range(started, started + len(episodes)), seed=0)
        assert [item.token_ids for item in episodes] == [item.text.token_ids for item in expected]
        started += len(episodes)
        lengths.extend(model.rollout_buffer.lengths.tolist())

    model.rollout_buffer.fill = keep  # type: ignore[method-assign]
    model.learn(2400)
    share = sum(length == 12 for length in lengths) / len(lengths)
    assert abs(share - 0.5) < 4 * 0.5 / len(lengths) ** 0.5


def test_generation_leaves_the_policy_and_torchs_generator_as_they_were() -> None:
    task = letter_task()
    policy = letter_policy(task)
    policy.set_training_mode(True)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    state = torch.get_rng_state()
    list(generate_episodes(policy, task, range(10), seed=0))
    assert policy.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_cache_is_gone_with_its_rollout_and_does_not_wait_for_the_garbage_collector(name: str) -> None:
    """A large network's takes gigabytes."""
    task = letter_task()
    policy = letter_policy(task, language_model(CONFIGS[name]))
    gc.collect()
    gc.disable()
    try:
        list(generate_episodes(policy, task, range(4), seed=0))
        assert not any(type(item) in (RowCache, RowCacheLayer) for item in gc.get_objects())
    finally:
        gc.enable()


def test_prompts_of_one_token_and_a_context_filled_to_the_last_position_work() -> None:
    task = letter_task(prompts=["a", "k"], max_prompt_tokens=1, max_new_tokens=31, banned_token_ids=[EOS])
    policy = letter_policy(task)
    episodes = [
        contents(list(generate_episodes(policy, task, range(6), seed=0, num_rows=4, is_static=is_static)))
        for is_static in (True, False)
    ]
    assert episodes[0] == episodes[1]
    assert {len(token_ids) for _, _, token_ids, _ in episodes[0]} == {31}


def test_the_texts_are_those_of_the_environment() -> None:
    """Replayed through the single-episode door: same texts, ends and scores."""
    task = letter_task(stop=["ab", "h"], prompt_order="sequential", min_new_tokens=1)
    env = TextGenVecEnv(1, task)
    env.reset()
    for item in generate_episodes(letter_policy(task), task, range(12), seed=4, num_rows=5):
        for step, token in enumerate(item.text.token_ids):
            _, _, dones, infos = env.step(np.array([token]))
            assert bool(dones[0]) == (step == len(item.text.token_ids) - 1)
        assert infos[0]["prompt"] == item.text.prompt.text
        assert infos[0]["completion"] == item.text.text
        assert infos[0]["finish_reason"] == item.text.finish_reason
        assert set(item.text.text) <= set(LETTERS)


def test_a_policy_with_other_rules_than_the_task_is_refused() -> None:
    task = letter_task(min_new_tokens=4)
    policy = letter_policy(task, rules=TokenRules())
    message = (
        "The policy allows other tokens than the task: it was made for TokenRules(banned_token_ids=(), "
        "min_new_tokens=0, eos_token_id=None), the task has TokenRules(banned_token_ids=(), min_new_tokens=4, "
        "eos_token_id=11). Make the policy with token_rules(task), or the task with the policy's rules; an algorithm "
        "goes on with another task by load(path, env=…)."
    )
    with pytest.raises(ValueError, match=exactly(message)):
        next(generate_episodes(policy, task, range(4), seed=0))


def test_a_task_is_never_changed() -> None:
    task: TextTask = letter_task()
    prompts, allowed = list(task.prompts), task.is_allowed.clone()
    list(generate_episodes(letter_policy(task), task, range(10), seed=0))
    assert task.prompts == prompts
    assert torch.equal(task.is_allowed, allowed)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("num_rows", [3, 64])
def test_a_captured_graph_generates_what_the_cpu_generates(name: str, num_rows: int) -> None:
    """What is tested without a GPU is the same step, run eagerly."""
    task = letter_task(min_new_tokens=2, banned_token_ids=[3], stop=["ab"])
    policy = letter_policy(task, language_model(CONFIGS[name]), temperature=0.7)
    expected = list(generate_episodes(policy, task, range(100), seed=1))
    policy.to("cuda")
    episodes = list(generate_episodes(policy, task, range(100), seed=1, num_rows=num_rows))
    assert contents(episodes) == contents(expected)
    for ours, theirs in zip(episodes, expected, strict=True):
        assert ours.log_prob.device.type == ours.values.device.type == "cuda"
        torch.testing.assert_close(ours.log_prob.cpu(), theirs.log_prob, atol=1e-3, rtol=0)
        torch.testing.assert_close(ours.values.cpu(), theirs.values, atol=1e-3, rtol=0)


@pytest.mark.cuda
@pytest.mark.parametrize(
    "of_task", [{}, {"prompts": ["a", "b", "c"], "max_prompt_tokens": 1}], ids=["long prompts", "prompts of one token"]
)
def test_groups_that_take_the_place_of_others_are_generated_as_on_the_cpu_rollout_after_rollout(
    of_task: dict[str, Any],
) -> None:
    """With heads that are wide enough for the kernel, by which completions read their prompt in one row."""
    task = letter_task(completions_per_prompt=3, min_new_tokens=2, **of_task)
    model = language_model(gpt2_config(n_embd=64, n_head=2))
    on_cpu, on_gpu = letter_policy(task, model), letter_policy(task, model).to("cuda")
    for seed in (1, 2, 3):
        expected = list(generate_episodes(on_cpu, task, range(90), seed=seed))
        episodes = list(generate_episodes(on_gpu, task, range(90), seed=seed, num_rows=8))
        assert contents(episodes) == contents(expected)
        for ours, theirs in zip(episodes, expected, strict=True):
            torch.testing.assert_close(ours.log_prob.cpu(), theirs.log_prob, atol=1e-3, rtol=0)
