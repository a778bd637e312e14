"""The same model with larger matrices: weight decay leaves them small, and steps of learning are absolute."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn
from transformers import GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.pytorch_utils import Conv1D

# Root mean square of the token embeddings: about what GPT-2's training without much weight decay ends with.
EMBEDDING_SIZE = 0.1


@torch.no_grad()
def rescale(model: GPT2LMHeadModel, embedding_size: float = EMBEDDING_SIZE) -> float:
    """Scale a GPT-2's matrices up and the gains that compensate for it down; what it computes stays.

    All that writes into the residual stream is multiplied by a factor c, which layer normalisation takes out again. A
    normalisation's gain and bias are divided by c, and the matrix that reads from it is multiplied: the head, which is
    the embedding, among them. Adam moves every entry by about its learning rate, so that a model with small matrices is
    torn by a rate that suits one of usual size: PPO's first update at 4e-4 moved a model by 140 nats a completion (one
    seed), and by 6, 8 and 8 (three seeds) once it was rescaled.

    Args:
        model: Changed in place; input and output embeddings must be one.
        embedding_size: Root mean square that the token embeddings get, which decides c.

    Returns:
        c. Results differ by rounding and, below 1 in 100, by the normalisations' epsilon, which is not scaled.
    """
    trunk = model.transformer
    factor = embedding_size / trunk.wte.weight.square().mean().sqrt().item()
    written = [trunk.wte.weight, trunk.wpe.weight]
    for block in cast(Iterable[GPT2Block], trunk.h):
        for projection in cast(Iterable[Conv1D], (block.attn.c_proj, block.mlp.c_proj)):
            written += [projection.weight, projection.bias]
        for norm, reader in ((block.ln_1, block.attn.c_attn), (block.ln_2, block.mlp.c_fc)):
            _divide(norm, factor)
            reader.weight.mul_(factor)
    _divide(trunk.ln_f, factor)
    for parameter in written:
        parameter.mul_(factor)
    return factor


def _divide(norm: nn.LayerNorm, factor: float) -> None:
    norm.weight.div_(factor)
    norm.bias.div_(factor)
