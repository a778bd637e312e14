"""`PotentialShaping`: the score is paid where it is earned, through every door, and sums to the score."""

from typing import Any

import gymnasium as gym
import pytest

from tests.agents.tiny import language_model, letter_policy, letter_task, share_of_a
from textgym.agents import A2C, DQN, PPO
from textgym.agents.generation import generate_episodes
from textgym.agents.judging import JudgedEpisode, judge_episodes
from textgym.core import TextCore
from textgym.env import TextGenEnv
from textgym.rewards import Keywords, LengthWindow, PotentialShaping, as_reward, build_reward, reward_to_data
from textgym.shaping import shaped_rewards
from textgym.task import TextTask


def judged(task: TextTask, n_episodes: int, **arguments: Any) -> list[JudgedEpisode]:
    episodes = generate_episodes(letter_policy(task), task, range(n_episodes), seed=3)
    return list(judge_episodes(task, episodes, **arguments))


def test_rewards_are_differences_of_potentials_and_telescope() -> None:
    assert shaped_rewards([0.5, 2.0, 1.0], 3.0) == [0.5, 1.5, -1.0, 2.0]
    assert shaped_rewards([], 3.0) == [3.0]


def test_the_object_pays_the_same_as_the_algorithms_option() -> None:
    by_object = judged(letter_task(reward=PotentialShaping(share_of_a)), 20)
    by_option = judged(letter_task(reward=share_of_a), 20, potential_shaping=True)
    plain = judged(letter_task(reward=share_of_a), 20)
    assert any(item.rewards[:-1].any() for item in by_object)
    for one, other, unshaped in zip(by_object, by_option, plain, strict=True):
        assert one.rewards.tolist() == other.rewards.tolist()
        assert float(one.rewards.sum()) == pytest.approx(unshaped.judgement.score)
        assert one.judgement.score == unshaped.judgement.score
        assert one.judgement.terms == unshaped.judgement.terms


def test_in_a_sum_only_the_shaped_term_is_paid_on_the_way() -> None:
    window = LengthWindow(1, 5, unit="characters")
    mixed = judged(letter_task(reward=2 * PotentialShaping(share_of_a) + window), 20)
    shaped = judged(letter_task(reward=PotentialShaping(share_of_a)), 20)
    for both, one in zip(mixed, shaped, strict=True):
        assert both.rewards[:-1].tolist() == pytest.approx((2 * one.rewards[:-1]).tolist())
        assert float(both.rewards.sum()) == pytest.approx(both.judgement.score)


def test_a_rewards_own_potential_is_used() -> None:
    """ "a" begins the phrase "a b", which letters written together never hold: half its worth on the way, 0 in all."""
    rewards = [item.rewards for item in judged(letter_task(reward=PotentialShaping(Keywords(["a b"]))), 60)]
    assert any(reward.max() == 0.5 for reward in rewards)
    assert all(float(reward.sum()) == pytest.approx(0.0) for reward in rewards)


def test_a_renamed_one_is_shaped_as_well() -> None:
    renamed = judged(letter_task(reward=as_reward(PotentialShaping(share_of_a), name="a")), 5)
    plain = judged(letter_task(reward=PotentialShaping(share_of_a)), 5)
    assert [item.rewards.tolist() for item in renamed] == [item.rewards.tolist() for item in plain]


def test_the_environment_pays_each_step_what_agents_get_for_the_token() -> None:
    task = letter_task(reward=2 * PotentialShaping(share_of_a) + 1)
    episodes = judged(task, 12)
    core = TextCore(task, 1)
    for item in episodes:
        core.begin()
        core.schedule.current[0] = task.prompts.index(item.episode.text.prompt)
        core.contexts.begin(core.schedule.current * 0, core.schedule.current)
        rewards = []
        for token in item.episode.text.token_ids:
            result = core.step(core.contexts.array([token]))
            rewards.append(float(result.rewards[0]))
        assert rewards == pytest.approx(item.rewards.tolist())
        assert result.endings[0]["score"] == item.judgement.score
        assert sum(rewards) == pytest.approx(item.judgement.score)


def test_a_failing_reward_leaves_the_core_as_it_was() -> None:
    calls = iter([False, False, True] + [False] * 100)

    def fails_once(completions: list[str], **columns: object) -> list[float]:
        if next(calls):
            raise OSError("away")
        return [float(len(text)) for text in completions]

    core = TextCore(letter_task(reward=PotentialShaping(fails_once)), 1)
    core.begin()
    paid = [float(core.step(core.contexts.array([0])).rewards[0]) for _ in range(2)]
    with pytest.raises(ValueError, match="away"):
        core.step(core.contexts.array([0]))
    assert [*paid, float(core.step(core.contexts.array([0])).rewards[0])] == [1.0, 1.0, 1.0]


def test_stock_agents_see_it_through_gymnasium() -> None:
    env = gym.make("textgym:TextGen-v0", reward=PotentialShaping(share_of_a), max_new_tokens=6, prompts=["The"])
    env.reset(seed=0)
    paid, is_over = [], False
    while not is_over:
        _, reward, is_over, _, info = env.step(env.action_space.sample())
        paid.append(float(reward))
    assert sum(paid) == pytest.approx(info["score"])


def test_at_another_gamma_the_discounted_sum_is_that_of_the_score_at_the_end() -> None:
    gamma = 0.5
    rewards = shaped_rewards([0.5, 2.0, 1.0], 3.0, gamma)
    assert rewards == [0.25, 0.5, -1.5, 2.0]
    assert sum(gamma**step * reward for step, reward in enumerate(rewards)) == gamma**3 * 3.0


def test_a_gamma_is_paid_alike_by_the_object_the_option_and_the_environment() -> None:
    gamma = 0.9
    shaped = as_reward(PotentialShaping(share_of_a, gamma), name="a")
    by_object = judged(letter_task(reward=shaped), 12)
    by_option = judged(letter_task(reward=share_of_a), 12, potential_shaping=True, gamma=gamma)
    task = letter_task(reward=shaped)
    core = TextCore(task, 1)
    for one, other in zip(by_object, by_option, strict=True):
        assert one.rewards.tolist() == other.rewards.tolist()
        discounted = sum(gamma**step * float(reward) for step, reward in enumerate(one.rewards))
        assert discounted == pytest.approx(gamma ** (len(one.rewards) - 1) * one.judgement.score, abs=1e-6)
        core.begin()
        core.schedule.current[0] = task.prompts.index(one.episode.text.prompt)
        core.contexts.begin(core.schedule.current * 0, core.schedule.current)
        stepped = [float(core.step(core.contexts.array([token])).rewards[0]) for token in one.episode.text.token_ids]
        assert stepped == pytest.approx(one.rewards.tolist(), abs=1e-6)


@pytest.mark.parametrize("actions", [[0, 2, 0, 3], [1, 0, 1, 2], [1, 1, 1, 0]])
def test_forbidden_tokens_take_nothing_from_the_discounted_sum(actions: list[int]) -> None:
    """They leave the text as it is, a step nearer to the end."""
    gamma = 0.5
    task = letter_task(reward=PotentialShaping(share_of_a, gamma), banned_token_ids=[1], max_new_tokens=4)
    core = TextCore(task, 2)
    core.begin()
    results = [core.step(core.contexts.array([action, 0])) for action in actions]
    for row, score in enumerate(results[-1].endings.columns["score"]):
        discounted = sum(gamma**step * float(result.rewards[row]) for step, result in enumerate(results))
        assert discounted == pytest.approx(gamma**3 * score)


def test_a_gamma_is_kept_in_plain_data() -> None:
    reward = build_reward({"potential_shaping": {"reward": "ends_sentence", "gamma": 0.99}})
    assert reward == PotentialShaping("ends_sentence", 0.99) == build_reward(reward_to_data(reward))


@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN])
def test_an_algorithm_with_another_gamma_says_so_before_it_generates(algorithm: Any) -> None:
    def reward(gamma: float) -> Any:
        return 2 * PotentialShaping("ends_sentence", gamma) + LengthWindow(1, 5)

    def learn(in_reward: float, in_algorithm: float) -> None:
        env = TextGenEnv(letter_task(reward=reward(in_reward)))
        policy_kwargs = {"model": language_model()}
        algorithm("GPT2Policy", env, gamma=in_algorithm, policy_kwargs=policy_kwargs, seed=0).learn(8)

    with pytest.raises(ValueError, match="PotentialShaping must have the gamma") as caught:
        learn(1.0, 0.9)
    name = algorithm.__name__
    assert str(caught.value) == (
        "PotentialShaping must have the gamma of the algorithm, or it changes which policy is the best: got gamma 1 in "
        f"the reward {reward(1.0)!r}, and 0.9 in {name}. Write PotentialShaping(…, gamma=0.9), or give {name} gamma=1."
    )
    learn(0.9, 0.9)


def test_the_terms_of_a_sum_are_shaped_for_one_gamma() -> None:
    with pytest.raises(ValueError, match=r"must have one gamma, the algorithm's, got 0.9 and 1\."):
        PotentialShaping("ends_sentence") + PotentialShaping("readability", 0.9)


@pytest.mark.parametrize(
    ("gamma", "error", "message"),
    [
        (0, ValueError, "gamma must be above 0, got 0."),
        (1.5, ValueError, "gamma must be at most 1, got 1.5."),
        ("1", TypeError, "gamma must be a number, got '1' of type str."),
    ],
)
def test_a_gamma_that_makes_no_sense_is_refused(gamma: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        PotentialShaping("ends_sentence", gamma)
    assert str(caught.value) == message


def test_beside_token_rewards_of_another_term_it_is_paid_on_top_of_them() -> None:
    def score_each_token(completion_ids: list[list[int]], **columns: object) -> list[list[float]]:
        return [[0.5 * (place + 1) for place in range(len(ids))] for ids in completion_ids]

    gamma = 0.5
    alone = judged(letter_task(reward=as_reward(score_each_token)), 12)
    shaped = judged(letter_task(reward=PotentialShaping(share_of_a, gamma)), 12)
    both = judged(letter_task(reward=as_reward(score_each_token) + PotentialShaping(share_of_a, gamma)), 12)
    assert any(len(item.rewards) > 2 for item in both)
    for item, one, other in zip(both, alone, shaped, strict=True):
        assert item.rewards.tolist() == pytest.approx((one.rewards + other.rewards).tolist(), abs=1e-6)


def test_of_a_reward_with_token_rewards_the_score_is_what_is_shaped() -> None:
    def pay_letters_a(completions: list[str], completion_ids: list[list[int]], **columns: object) -> list[list[float]]:
        return [
            [0.0] * (len(ids) - 1) + [text.count("a")] if ids else []
            for text, ids in zip(completions, completion_ids, strict=True)
        ]

    def count_letters_a(completions: list[str], **columns: object) -> list[float]:
        return [float(text.count("a")) for text in completions]

    by_tokens = judged(letter_task(reward=PotentialShaping(pay_letters_a)), 12)
    by_score = judged(letter_task(reward=PotentialShaping(count_letters_a)), 12)
    assert [item.rewards.tolist() for item in by_tokens] == [item.rewards.tolist() for item in by_score]
