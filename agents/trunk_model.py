"""What a trunk is made from: a language model of its own, and which part of it is trained, how exactly."""

import copy
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from textgym.models import load_language_model

from .activations import fuse_activations
from .lora import LoraSource
from .precision import Autocast

ModelSource = PreTrainedModel | PretrainedConfig | str | Path | None


class TrunkOptions(TypedDict, total=False):
    """What of the trunk is trained, in which precision and memory; explained in `LanguagePolicy`."""

    frozen_layers: int
    lora: LoraSource | None
    autocast: Autocast | None
    gradient_checkpointing: bool


class TrunkArguments(TypedDict):
    """The keyword arguments of a trunk; explained in `LanguagePolicy`."""

    model: ModelSource
    frozen_layers: int
    lora: LoraSource | None
    autocast: Autocast | None
    gradient_checkpointing: bool
    optimizer_class: type[torch.optim.Optimizer]
    optimizer_kwargs: dict[str, Any] | None


def own_model(source: ModelSource) -> PreTrainedModel:
    """Load a language model, make it from its configuration, or copy it; in float32, without dropout."""
    if isinstance(source, PretrainedConfig):
        model = AutoModelForCausalLM.from_config(source)
    elif isinstance(source, PreTrainedModel):
        model = copy.deepcopy(source)
    else:
        model = load_language_model(source)
    model.float().eval()
    fuse_activations(model)
    return cast(PreTrainedModel, model)
