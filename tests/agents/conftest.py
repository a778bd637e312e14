"""What tests of agents share."""

import pytest

from textgym.agents import gpu_path


@pytest.fixture(params=["as on the CPU", "as on a GPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go both ways on the CPU: the one made for it, and the one made for GPUs but for what only these can run."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(gpu_path, "is_for_gpu", lambda tensor: True)
