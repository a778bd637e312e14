"""A transformer with a small head: what an encoder or a GPT-2 makes of a text, as one number or a few."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from .encoding import TokenBatch

Pooling = Literal["mean", "last"]


class RewardNetwork(nn.Module):
    """A backbone, its hidden states pooled into one vector, and a linear head.

    Args:
        backbone: Any model without a head (`AutoModel`).
        n_outputs: Numbers for each text.
        pooling: "mean" over a text's tokens, as sentence encoders do; "last" takes the last token's vector, the only
            one that has seen the whole text where attention is causal; None chooses by the kind of the backbone.
    """

    def __init__(self, backbone: PreTrainedModel, n_outputs: int, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling or natural_pooling(backbone)
        self.head = nn.Linear(backbone.config.hidden_size, n_outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return the head's numbers, shape (N, n_outputs)."""
        # GPT-2 asks for no cache here: nothing is decoded.
        options = {"use_cache": False} if self.pooling == "last" else {}
        hidden = self.backbone(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, **options
        ).last_hidden_state  # (N, T, D)
        return cast(Tensor, self.head(self._pool(hidden, batch.attention_mask)))

    def _pool(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        if self.pooling == "last":
            last = attention_mask.sum(-1) - 1
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        is_token = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * is_token).sum(1) / is_token.sum(1)

    def train_layers(self, n_layers: int | None) -> None:
        """Let the head and the topmost layers learn, and freeze what lies below, embeddings included.

        Args:
            n_layers: How many layers learn; 0 leaves only the head, None lets everything learn.

        Raises:
            ValueError: If the backbone has fewer layers.
        """
        if n_layers is None:
            return
        layers = find_layers(self.backbone)
        if not 0 <= n_layers <= len(layers):
            raise ValueError(
                f"trainable_layers must be between 0 and the backbone's {len(layers)} layers, got {n_layers}."
            )
        self.backbone.requires_grad_(False)
        for layer in list(layers)[len(layers) - n_layers :]:
            layer.requires_grad_(True)


def natural_pooling(backbone: PreTrainedModel) -> Pooling:
    """Return "mean" for the models that are also trained with masked words, "last" for all others."""
    return "mean" if backbone.config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES else "last"


def find_layers(backbone: PreTrainedModel) -> nn.ModuleList:
    """Return a transformer's layers: its longest list of modules."""
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ValueError(f"trainable_layers needs a backbone with layers, {type(backbone).__name__} has none.")
    return max(lists, key=len)
