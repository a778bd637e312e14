"""A run's checkpoint: one file with the algorithm and, where it has one, its replay, so that both are of one moment."""

import zipfile
from io import BytesIO
from typing import TypeVar

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from textgym.agents.sequence_algorithm import SequenceAlgorithm
from textgym.replacing import replacing_file

from .run_folder import RunFolder

Algorithm = TypeVar("Algorithm", bound=SequenceAlgorithm)
# Beside Stable-Baselines3's own entries of the `.zip`, which its `load` does not look at.
REPLAY_ENTRY = "replay_buffer.pkl"


def save_checkpoint(model: SequenceAlgorithm, folder: RunFolder) -> None:
    """Save an algorithm in a run's folder; the checkpoint before it stays whole until this one is."""
    with replacing_file(folder.checkpoint) as partial:
        with partial.open("wb") as file:
            model.save(file)
        if isinstance(model, OffPolicyAlgorithm):
            replay = BytesIO()
            model.save_replay_buffer(replay)
            with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(REPLAY_ENTRY, replay.getbuffer())
    model.last_checkpoint = folder.checkpoint


def load_checkpoint(kind: type[Algorithm], folder: RunFolder, env: VecEnv, device: str) -> Algorithm:
    """Load what `save_checkpoint` has saved.

    Args:
        kind: The algorithm's class.
        folder: The run's folder.
        env: What to go on training in.
        device: Where to train.
    """
    model = kind.load(folder.checkpoint, env=env, device=device)
    if isinstance(model, OffPolicyAlgorithm):
        with zipfile.ZipFile(folder.checkpoint) as archive:
            model.load_replay_buffer(BytesIO(archive.read(REPLAY_ENTRY)))
    return model
