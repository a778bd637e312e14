"""A run's checkpoint: one file with the algorithm, its replay and the reward's statistics, all of one moment."""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import torch
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.sequence_algorithm import SequenceAlgorithm
from textgym.replacing import replacing_file
from textgym.rewards import RewardFunction

from .run_folder import RunFolder

Algorithm = TypeVar("Algorithm", bound=SequenceAlgorithm)
# Beside Stable-Baselines3's own entries of the `.zip`, which its `load` does not look at.
REPLAY_ENTRY = "replay_buffer.pkl"
REWARD_ENTRY = "reward.json"


def save_checkpoint(model: SequenceAlgorithm, folder: RunFolder) -> None:
    """Save an algorithm in a run's folder; the checkpoint before it stays whole until this one is."""
    with replacing_file(folder.checkpoint) as partial:
        with partial.open("wb") as file:
            model.save(file)
        if isinstance(model, OffPolicyAlgorithm):
            replay = BytesIO()
            model.save_replay_buffer(replay)
            _add(partial, REPLAY_ENTRY, replay.getbuffer())
        if isinstance(model.task.reward, RewardFunction):
            _add(partial, REWARD_ENTRY, json.dumps(model.task.reward.whole_state()))
    model.last_checkpoint = folder.checkpoint


def load_checkpoint(
    kind: type[Algorithm], folder: RunFolder, env: VecEnv, device: torch.device, **settings: Any
) -> Algorithm:
    """Load what `save_checkpoint` has saved.

    Args:
        kind: The algorithm's class.
        folder: The run's folder.
        env: What to go on training in.
        device: Where to train.
        **settings: Arguments of the constructor that take the place of the saved ones.

    Raises:
        ValueError: If the file is not whole, or not what `save_checkpoint` writes.
    """
    model = kind.load(folder.checkpoint, env=env, device=device, **settings)
    if isinstance(model, OffPolicyAlgorithm):
        model.load_replay_buffer(BytesIO(_read(folder.checkpoint, REPLAY_ENTRY)))
    if isinstance(model.task.reward, RewardFunction):
        model.task.reward.restore_whole_state(json.loads(_read(folder.checkpoint, REWARD_ENTRY)))
    return model


def _read(archive: Path, entry: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        if entry not in opened.namelist():
            raise ValueError(
                f"{archive} is no checkpoint of a run: it has no {entry}. Expected the file that `textgym train` "
                "leaves in a run's folder."
            )
        return opened.read(entry)


def _add(archive: Path, entry: str, content: str | memoryview) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(entry, content)
