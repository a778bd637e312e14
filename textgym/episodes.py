"""Finished episodes, and what the reward function makes of them: one by one, by column, and as the `info` of an end."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from .prompts import Prompt
from .reward_protocol import RewardResult

FinishReason = Literal["eos", "stop", "length"]


class FinishedEpisode(NamedTuple):
    """One prompt and the completion that a policy gave it.

    Attributes:
        prompt: What was to be continued.
        token_ids: The generated tokens, the end-of-sequence token included where the policy chose it.
        text: The completion as text, without the end-of-sequence token, cut before a stop string.
        finish_reason: `"eos"`, `"stop"` or `"length"`.
    """

    prompt: Prompt
    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason


class FinishedEpisodes(NamedTuple):
    """N finished episodes by column, each of length N; see `FinishedEpisode`."""

    prompts: Sequence[Prompt]
    token_ids: Sequence[Sequence[int]]
    texts: Sequence[str]
    finish_reasons: Sequence[FinishReason]


class Judgement(NamedTuple):
    """What the reward function makes of one finished episode.

    Attributes:
        score: The episode's whole reward but for step rewards.
        terms: Each term of the reward, unweighted, by name; None where it does not apply.
        token_rewards: Reward of each generated token, length T, summing to `score` unless the reward is shaped for a
            gamma other than 1; None where the reward judges the completion as a whole.
    """

    score: float
    terms: dict[str, float | None]
    token_rewards: list[float] | None


def judgements(result: RewardResult) -> list[Judgement]:
    """Return the judgement on each of N episodes, given them by column."""
    return [
        Judgement(score, {name: values[index] for name, values in result.terms.items()}, token_rewards)
        for index, (score, token_rewards) in enumerate(zip(result.scores, result.token_rewards, strict=True))
    ]


def spread_over_tokens(token_rewards: Sequence[float], length: int, score: float) -> list[float]:
    """Fit rewards of the text's tokens to the generated tokens; what they leave of the score is paid at the end."""
    rewards = [*token_rewards, *[0.0] * (length - len(token_rewards))]
    if not rewards:
        return rewards
    rewards[-1] += score - sum(rewards)
    return rewards


def episode_info(episode: FinishedEpisode, judgement: Judgement) -> dict[str, Any]:
    """Return what `info` holds at an episode's end; each term of the reward as `reward/<name>`."""
    terms = {name: [value] for name, value in judgement.terms.items()}
    result = RewardResult([judgement.score], terms, [judgement.token_rewards])
    columns = info_columns(
        FinishedEpisodes([episode.prompt], [episode.token_ids], [episode.text], [episode.finish_reason]), result
    )
    return {key: values[0] for key, values in columns.items() if values[0] is not None}


def info_columns(episodes: FinishedEpisodes, result: RewardResult) -> dict[str, Sequence[Any]]:
    """Return what `info` holds at the ends of N episodes, by column.

    Args:
        episodes: The episodes.
        result: What `TextTask.score_by_column` makes of them.

    Returns:
        For each key one value an episode, None where the episode's info has no such key.
    """
    return {
        "prompt": [prompt.text for prompt in episodes.prompts],
        "completion": episodes.texts,
        "finish_reason": episodes.finish_reasons,
        "n_tokens": [len(ids) for ids in episodes.token_ids],
        "score": result.scores,
        **{f"reward/{name}": values for name, values in result.terms.items()},
        "token_rewards": result.token_rewards,
    }
