"""What every test may rely on: no network, no display, an optional corpus, a tiny model, CUDA where there is one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what compiles for CUDA read gradients of what has none, which PyTorch hides unless warnings are errors."""
    for item in items:
        if item.get_closest_marker("cuda") is not None:
            item.add_marker(pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"))


@pytest.fixture(scope="session", autouse=True)
def logger_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let Stable-Baselines3 make its loggers' folders where they are removed; else each `learn` leaves one."""
    os.environ["SB3_LOGDIR"] = str(tmp_path_factory.mktemp("loggers"))


@pytest.fixture(scope="session")
def corpus_folder() -> Path:
    """The folder of the training corpus: `$TEXTGYM_SHARED/corpus`, else `../shared/corpus` beside the checkout."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TEXTGYM_SHARED", beside_checkout)) / "corpus"
    if not folder.is_dir():
        pytest.skip(f"the training corpus is not at {folder}; TEXTGYM_SHARED names the folder that holds corpus/")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of random weights, 2 layers and width 16, whose tokens are bytes."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.fakes import EOS_TOKEN_ID, VOCAB_SIZE, byte_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=64,
        bos_token_id=EOS_TOKEN_ID, eos_token_id=EOS_TOKEN_ID,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no browser: chromium is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()
