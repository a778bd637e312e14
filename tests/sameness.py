"""That two runs are the same one: texts to the letter, numbers within rounding.

Two processes on one machine add floats in another order now and then, so the last digits may differ. A run that lost
its optimiser's state or its random numbers differs in the texts it sampled, and by far more than these margins.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

MARGIN = 1e-3


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare nested lists and dicts; numbers, also those written as text in a CSV file, within the margin."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, (item, expected) in enumerate(zip(one, other, strict=True)):
            assert_same(item, expected, f"{where}[{index}]")
    elif one != other:
        assert float(one) == pytest.approx(float(other), rel=MARGIN, abs=MARGIN), where


def assert_same_file(one: Path, other: Path) -> None:
    """Compare two files of JSON, or of JSON in lines."""
    assert_same(_read(one), _read(other), one.name)


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(one, other, rtol=MARGIN, atol=MARGIN)


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
