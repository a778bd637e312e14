"""Saving and loading a replay: never half a file; files that are cut off or foreign are errors; settings hold."""

import contextlib
import io
from pathlib import Path

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import open_path

from textgym.replacing import replacing_file

from .episode_replay import EpisodeReplay


class CheckedReplay(OffPolicyAlgorithm):
    """A mixin before Stable-Baselines3's class, which reads any pickle as it comes, and keeps its settings."""

    def save_replay_buffer(self, path: str | Path | io.BufferedIOBase) -> None:
        """Save the replay by pickle; a file of that name stays whole until the new one is."""
        if isinstance(path, io.BufferedIOBase):
            super().save_replay_buffer(path)
            return
        target = Path(path)
        target = target if target.suffix else target.with_name(f"{target.name}.pkl")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(target) as partial, partial.open("wb") as file:
            super().save_replay_buffer(file)

    def load_replay_buffer(self, path: str | Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Load a replay, as `save_replay_buffer` writes it, onto this algorithm's device.

        What this algorithm was made or loaded with (`n_steps`, `gamma`, `buffer_size`, `candidates`) holds for the
        replay from now on, whatever it was saved with. The file is a pickle, which may run any code when it is read:
        load only what you trust.

        Args:
            path: The file, with or without its `.pkl`.
            truncate_last_traj: Not used; a replay holds whole episodes.

        Raises:
            ValueError: If the file is not whole, or holds something else; the algorithm keeps the replay it has.
            OSError: If it cannot be read.
        """
        before = self.replay_buffer
        # Opened here, since Stable-Baselines3 leaves a file open that it cannot read.
        opened = contextlib.nullcontext(path) if isinstance(path, io.BufferedIOBase) else open_path(path, "r", 0, "pkl")
        try:
            with opened as file:
                super().load_replay_buffer(file, truncate_last_traj)
        except OSError:
            raise
        # A pickle that is cut off, or of something else, may raise anything.
        except Exception as error:
            self.replay_buffer = before
            raise ValueError(
                f"{_name_of(path)} is damaged or no replay at all; expected what {type(self).__name__}."
                "save_replay_buffer writes."
            ) from error
        found = self.replay_buffer
        if not isinstance(found, EpisodeReplay):
            self.replay_buffer = before
            raise ValueError(
                f"{_name_of(path)} holds a {type(found).__name__}, not the replay of whole episodes that is needed "
                "here."
            )
        found.move_to(self.device)
        self._adopt(found)

    def _adopt(self, replay: EpisodeReplay) -> None:
        """Let a loaded replay follow this algorithm's settings."""
        replay.seed, replay.n_steps, replay.gamma = self.seed or 0, self.n_steps, self.gamma
        replay.buffer_size = self.buffer_size


def _name_of(path: object) -> str:
    return "The file" if isinstance(path, io.BufferedIOBase) else str(path)
