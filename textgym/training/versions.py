"""What a run ran on: package versions, Python and the machine."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = (
    "textgym",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gymnasium",
    "stable-baselines3",
    "sb3-contrib",
    "numpy",
)


def describe_session(device: torch.device, n_tokens: int) -> dict[str, Any]:
    """Describe one start of a run.

    Args:
        device: What it trains on.
        n_tokens: Tokens that had been trained on before.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_tokens": n_tokens,
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.type}: {name}",
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
