"""Which tensors go the way that is made for GPUs: few and large operations, where a CPU's stay in its cache."""

from torch import Tensor


def is_for_gpu(tensor: Tensor) -> bool:
    """Whether a tensor goes that way. It is the only place that decides, so that tests can send a CPU's along it."""
    return tensor.is_cuda
