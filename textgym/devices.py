"""PyTorch's devices by name, and what is said where there is none of that name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def read_device(name: "str | torch.device") -> "torch.device":
    """Return the device of a name, whether this machine has it or not; see `find_device`.

    Raises:
        ValueError: If torch has no device of that name.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or another of torch's devices, got {name!r}."
        ) from error


def find_device(name: "str | torch.device") -> "torch.device":
    """Return the device of a name.

    Args:
        name: A device or its name, as torch has it ("cpu", "cuda", "cuda:1"), or "auto" for CUDA where there is a
            device, else the CPU.

    Raises:
        ValueError: If torch has no device of that name, or this machine has none.
    """
    import torch

    device = read_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        n_found = torch.cuda.device_count()
        raise ValueError(
            f"device {str(name)!r} is not there: torch {torch.__version__} finds {n_found} CUDA devices on this "
            "machine. Choose 'cpu' or 'auto', or install torch for CUDA."
        )
    return device
