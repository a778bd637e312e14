"""What happens between a run's rollouts: samples are written, everything is saved, and a wish to stop is granted."""

import time
from typing import cast

from stable_baselines3.common.callbacks import BaseCallback

from textgym.agents import evaluate
from textgym.agents.sequence_algorithm import SequenceAlgorithm
from textgym.task import TextTask

from .checkpoint import save_checkpoint
from .run_folder import RunFolder
from .samples import to_samples
from .stopping import StopRequest, TrainingStopped


class CheckpointCallback(BaseCallback):
    """Saves between a rollout's update and the next rollout, where a resumed run repeats what an unstopped one does.

    Args:
        folder: Where to save.
        seconds: Time since the last save after which the next one is due.
        stop: Whether to stop.

    Raises:
        TrainingStopped: Before the next rollout, once a stop was asked for and all is saved.
    """

    def __init__(self, folder: RunFolder, seconds: float, stop: StopRequest) -> None:
        super().__init__()
        self.folder = folder
        self.seconds = seconds
        self.stop = stop
        self._saved_at = float("-inf")

    def _on_rollout_start(self) -> None:
        if self.stop.received is not None or time.monotonic() - self._saved_at >= self.seconds:
            save_checkpoint(cast(SequenceAlgorithm, self.model), self.folder)
            self._saved_at = time.monotonic()
        if self.stop.received is not None:
            raise TrainingStopped(self.stop.received)

    def _on_step(self) -> bool:
        return True


class SampleCallback(BaseCallback):
    """Writes a few completions of the same prompts, from the same random numbers, each time so many tokens have passed.

    Args:
        folder: Where to write them.
        task: Its prompts are the ones to complete, each once.
        every: Tokens between two times.
        seed: Decides the random numbers.
    """

    def __init__(self, folder: RunFolder, task: TextTask, every: int, seed: int) -> None:
        super().__init__()
        self.folder = folder
        self.task = task
        self.every = every
        self.seed = seed
        self._last = 0

    def _on_training_start(self) -> None:
        self._last = max([sample["tokens"] for sample in self.folder.read_samples()], default=0)

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every == self._last // self.every:
            return
        self._last = self.num_timesteps
        evaluation = evaluate(self.model, self.task, len(self.task.prompts), seed=self.seed)
        self.folder.add_samples(to_samples(evaluation, self.num_timesteps, "training"))

    def _on_step(self) -> bool:
        return True
