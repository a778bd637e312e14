"""What every test may rely on: no network, no display, the optional corpus, and CUDA tests only where CUDA is."""

import os
from pathlib import Path

import pytest

# Set before any test imports the libraries that read them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `cuda` where there is no CUDA device."""
    if item.get_closest_marker("cuda") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def corpus_folder() -> Path:
    """The folder of the training corpus: `$TEXTGYM_SHARED/corpus`, else `../shared/corpus` beside the checkout."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TEXTGYM_SHARED", beside_checkout)) / "corpus"
    if not folder.is_dir():
        pytest.skip(f"the training corpus is not at {folder}; TEXTGYM_SHARED names the folder that holds corpus/")
    return folder
