"""Which tensors go the way that is made for GPUs: few and large operations, where a CPU's stay in its cache."""

import torch
from torch import Tensor


def is_for_gpu(tensor: Tensor) -> bool:
    """Whether a tensor goes that way. It is the only place that decides, so that tests can send a CPU's along it."""
    return tensor.is_cuda


def memory_of(tensor: Tensor) -> int:
    """Return how many bytes of memory the GPU has that a tensor lies on; 0 for a CPU's."""
    return int(torch.cuda.get_device_properties(tensor.device).total_memory) if tensor.is_cuda else 0
