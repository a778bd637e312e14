"""GPT-2's activation function, computed by one kernel in the place of eight."""

from torch import nn
from transformers.activations import ACT2FN

_IN_EIGHT_KERNELS, _IN_ONE_KERNEL = type(ACT2FN["gelu_new"]), type(ACT2FN["gelu_pytorch_tanh"])


def is_tanh_gelu(module: nn.Module) -> bool:
    """Whether a module is the tanh approximation of GELU, in either form."""
    return type(module) in (_IN_EIGHT_KERNELS, _IN_ONE_KERNEL)


def fuse_activations(model: nn.Module) -> None:
    """Let a model compute "gelu_new" as "gelu_pytorch_tanh", the same function up to rounding.

    Its configuration, and so what is saved, keeps the name it came with.

    Args:
        model: Changed in place.
    """
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is _IN_EIGHT_KERNELS:
                setattr(parent, name, _IN_ONE_KERNEL())
