"""What tests of agents share."""

import pytest

from textgym.agents import gpu_path, onednn_products


@pytest.fixture(params=["as on the CPU", "as on a CPU with AVX-512", "as on a GPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go all ways on the CPU: those made for it, and the one made for GPUs but for what only these can run."""
    if request.param == "as on a GPU":
        monkeypatch.setattr(gpu_path, "is_for_gpu", lambda tensor: True)
    if request.param == "as on a CPU with AVX-512":
        monkeypatch.setattr(onednn_products, "_has_avx512", lambda: True)
        monkeypatch.setattr(onednn_products, "MIN_MULTIPLICATIONS", 1)
