"""Judge the episodes that have ended, and write the `info` of their last step."""

from collections.abc import Sequence
from typing import Any

from .task import FinishedEpisode, Judgement, TextTask


def judge(task: TextTask, episodes: Sequence[FinishedEpisode]) -> list[dict[str, Any]]:
    """Judge episodes by one call of the reward function, and return the `info` of each; see `TextGenEnv`."""
    return [_info(episode, judgement) for episode, judgement in zip(episodes, task.score(episodes), strict=True)]


def _info(episode: FinishedEpisode, judgement: Judgement) -> dict[str, Any]:
    info: dict[str, Any] = {
        "prompt": episode.prompt.text,
        "completion": episode.text,
        "finish_reason": episode.finish_reason,
        "n_tokens": len(episode.token_ids),
        "score": judgement.score,
    }
    for name, value in judgement.terms.items():
        if value is not None:
            info[f"reward/{name}"] = value
    if judgement.token_rewards is not None:
        info["token_rewards"] = judgement.token_rewards
    return info
