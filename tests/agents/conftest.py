"""What tests of agents share."""

import pytest
import torch

from textgym.agents import cpu_step, gpu_path
from textgym.agents.cpu_step import CPUStep


@pytest.fixture(params=["as on the CPU", "as on a GPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go both ways on the CPU: the one made for it, and the one made for GPUs but for what only these can run."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(gpu_path, "is_for_gpu", lambda tensor: True)


@pytest.fixture
def in_c() -> CPUStep:
    """Return the functions that are written in C."""
    functions = cpu_step.cpu_step(torch.device("cpu"), torch.float32)
    if functions is None:
        pytest.skip("there is no C compiler")
    return functions


@pytest.fixture
def without_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as where there is no C compiler."""
    monkeypatch.setattr(cpu_step, "_compiled_step", lambda: None)


@pytest.fixture(params=["in_c", "without_c"])
def with_and_without_c(request: pytest.FixtureRequest) -> None:
    """Do with the functions that are written in C, and without."""
    request.getfixturevalue(request.param)
