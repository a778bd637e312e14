"""Copies from the host to a device, which wait for nothing."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, in the order of what the device was given before.

    A GPU copies from page-locked memory by itself. From other memory the host copies when the GPU comes to it, and
    gives it nothing to do meanwhile.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
