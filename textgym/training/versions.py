"""What a run ran on: package versions, Python and the machine."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
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


def processor_name() -> str:
    """Return the processor's model where Linux names it, or else what Python knows of it, such as x86_64."""
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
