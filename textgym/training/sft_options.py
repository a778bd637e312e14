"""What `textgym sft` and a loop's warm start can be told."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SftOptions:
    """How to fine-tune.

    Attributes:
        data: A .jsonl or .csv file with the columns `prompt` and `completion`.
        model: A run folder, a model folder, a hub name or `"bundled"`.
        epochs: Passes over the data, at most.
        learning_rate: Peak step size of AdamW, which rises over the first twentieth and falls to 0 at the end.
        batch_tokens: Tokens a minibatch, padding included; at least one row.
        held_out: Share of the demonstrations that is not learned, but measured with; 0 for none, and no early stop.
        patience: Stop after so many epochs that have not lowered the held-out loss.
        seed: Decides what is held out, and the order.
        device: PyTorch's name of a device; "auto" for the GPU where there is one.

    Raises:
        ValueError: If a number is out of range.
        TypeError: If it is none.
    """

    data: str
    model: str = "bundled"
    epochs: int = 10
    learning_rate: float = 1e-4
    batch_tokens: int = 4096
    held_out: float = 0.1
    patience: int = 2
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("epochs", "batch_tokens", "patience", "seed"):
            if not isinstance(getattr(self, name), int) or isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a whole number, got {getattr(self, name)!r}.")
        for name in ("learning_rate", "held_out"):
            if not isinstance(getattr(self, name), float | int) or isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a number, got {getattr(self, name)!r}.")
        for name, least in (("epochs", 1), ("batch_tokens", 1), ("patience", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be a finite number above 0, got {self.learning_rate}.")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be at least 0 and below 1, got {self.held_out}.")
