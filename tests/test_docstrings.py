"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator

import pytest

PACKAGES = (
    "textgym",
    "textgym.agents",
    "textgym.benchmarks",
    "textgym.benchmarks.learning",
    "textgym.benchmarks.pretraining",
    "textgym.benchmarks.tasks",
    "textgym.cli",
    "textgym.feedback",
    "textgym.rewards",
    "textgym.rewards.learned",
    "textgym.rlhf",
    "textgym.training",
)


def module_names() -> Iterator[str]:
    """Every module's name, found without importing it."""
    for package_name in PACKAGES:
        spec = importlib.util.find_spec(package_name)
        assert spec is not None, f"{package_name} is not installed"
        yield package_name
        for module in pkgutil.iter_modules(spec.submodule_search_locations):
            if not module.ispkg and module.name != "__main__":
                yield f"{package_name}.{module.name}"


@pytest.mark.parametrize("name", list(module_names()))
def test_examples_in_docstrings_run(name: str) -> None:
    if name.endswith("_kernel"):
        pytest.importorskip("triton", reason="needs Triton, which comes with PyTorch for CUDA")
    assert doctest.testmod(importlib.import_module(name)).failed == 0
