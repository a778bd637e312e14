"""The lower layers of a trunk, frozen: computed once for all that stands on them, and shared rather than copied."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def freeze_layers(model: PreTrainedModel, n_layers: int) -> None:
    """Freeze the embeddings and the first blocks of a language model, and with tied weights its head too.

    Args:
        model: The language model, changed in place.
        n_layers: Number of blocks; 0 freezes nothing.

    Raises:
        ValueError: If the model has fewer blocks.
    """
    if n_layers == 0:
        # Also where the blocks are not found.
        return
    _, blocks = _blocks(model.base_model)
    if not 0 <= n_layers <= len(blocks):
        raise ValueError(f"frozen_layers must lie between 0 and the model's {len(blocks)} layers, got {n_layers}.")
    embeddings = [module for module in model.base_model.children() if isinstance(module, nn.Embedding)]
    for module in [*embeddings, *blocks[:n_layers]]:
        module.requires_grad_(False)


def frozen_parameters(module: nn.Module) -> dict[int, Any]:
    """Return a memo for `copy.deepcopy`, with which the copy shares the parameters that never change."""
    return {id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad}


def share_frozen_parameters(owner: PreTrainedModel, other: PreTrainedModel) -> bool:
    """Let another model of the same shape use the owner's frozen parameters.

    Returns:
        Whether their values were the same; if not, the other model is left as it is.
    """
    frozen = {name: one for name, one in owner.named_parameters() if not one.requires_grad}
    theirs = dict(other.named_parameters())
    if not all(name in theirs and torch.equal(one, theirs[name]) for name, one in frozen.items()):
        return False
    for name, parameter in frozen.items():
        parent, _, attribute = name.rpartition(".")
        setattr(other.get_submodule(parent), attribute, parameter)
    other.tie_weights()
    return True


def lower_hidden_states(trunk: nn.Module, n_layers: int, input_ids: Tensor) -> Tensor:
    """Return what the first blocks of a trunk, but not all of them, make of right-padded rows, shape (B, L, D)."""
    name, blocks = _blocks(trunk)
    part = _with_blocks(trunk, name, [*blocks[:n_layers], _Stop()])
    embeddings = trunk.get_input_embeddings()(input_ids)  # type: ignore[operator]
    try:
        part(inputs_embeds=embeddings, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    raise RuntimeError(f"{type(trunk).__name__} does not run through its blocks; use frozen_layers=0.")


def upper_hidden_states(trunk: nn.Module, n_layers: int, lower: Tensor) -> Tensor:
    """Return a trunk's last hidden state, shape (B, L, D), from what its first blocks have made of the rows."""
    name, blocks = _blocks(trunk)
    # The first ones keep their places, since some models look up what a place's attention is like.
    skipped = [_Skipped(block) for block in blocks[:n_layers]]
    part = _with_blocks(trunk, name, [*skipped, _Resumed(blocks[n_layers], lower), *blocks[n_layers + 1 :]])
    hidden: Tensor = part(inputs_embeds=lower, use_cache=False).last_hidden_state
    return hidden


class _Reached(Exception):  # noqa: N818 (not an error)
    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _Stop(nn.Module):
    """Ends a forward pass with what has come so far."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        raise _Reached(hidden_states)


class _StandIn(nn.Module):
    """Takes a block's place, and has its attributes."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__["_modules"]
        return modules[name] if name in modules else getattr(modules["block"], name)


class _Skipped(_StandIn):
    # Some versions take the hidden state from a block's result as it is, some its first entry; nobody reads this one.
    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        return (hidden_states,)


class _Resumed(_StandIn):
    def __init__(self, block: nn.Module, hidden: Tensor) -> None:
        super().__init__(block)
        self.hidden = hidden

    def forward(self, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        return self.block(self.hidden, *args, **kwargs)


def _blocks(trunk: nn.Module) -> tuple[str, list[nn.Module]]:
    """Return the name and the members of the list of a trunk's blocks."""
    n_layers = trunk.config.num_hidden_layers  # type: ignore[union-attr]
    for name, module in trunk.named_children():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return name, list(module)
    raise ValueError(
        f"{type(trunk).__name__} has no list of {n_layers} layers that could be frozen; use frozen_layers=0."
    )


def _with_blocks(trunk: nn.Module, name: str, blocks: list[nn.Module]) -> nn.Module:
    """Return a trunk that shares everything with the given one but the list of its blocks."""
    part = copy.copy(trunk)
    part._modules = {**trunk._modules, name: nn.ModuleList(blocks)}
    return part
