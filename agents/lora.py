"""Low-rank adapters on a frozen language model: put in, switched off for the reference, saved alone, or merged."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

# A rank; settings of peft's LoraConfig by name; or the folder of a saved adapter.
LoraSource = int | Mapping[str, Any] | str | Path
# Where an adapter came from and what it is used for; and dropout, which an adapter from elsewhere may have been trained
# with, and which the language model never has here.
NOT_OF_THE_SHAPE = frozenset({"task_type", "inference_mode", "base_model_name_or_path", "revision", "lora_dropout"})


def add_lora(model: PreTrainedModel, source: LoraSource) -> dict[str, Any]:
    """Freeze a language model and add an adapter to each matrix of its blocks, which at first changes nothing.

    Args:
        model: The language model, changed in place.
        source: The adapter's rank, with `lora_alpha` twice as high; settings of `peft.LoraConfig`; or the folder of an
            adapter that `save_lora` wrote.

    Returns:
        Settings from which an adapter of the same shape is made.

    Raises:
        ModuleNotFoundError: If peft is not installed.
        TypeError: If the source is none of these.
        ValueError: If the rank is below 1, there is dropout, or the folder holds no adapter.

    Reference:
        Hu et al. (2022), arXiv:2106.09685.
    """
    peft = _import_peft()
    if isinstance(source, str | Path):
        if not (Path(source) / "adapter_config.json").is_file():
            raise ValueError(f"The folder {source} holds no adapter; expected what save_lora writes.")
        config = peft.LoraConfig.from_pretrained(str(source))
        config.inference_mode = False
        model.load_adapter(str(source), is_trainable=True)
        return _settings(config)
    if isinstance(source, bool) or not isinstance(source, int | Mapping):
        raise TypeError(f"lora must be a rank, settings of peft.LoraConfig, or an adapter's folder, got {source!r}.")
    settings: dict[str, Any] = {"r": source, "lora_alpha": 2 * source} if isinstance(source, int) else dict(source)
    if settings.get("r", 8) < 1:
        raise ValueError(f"The rank of lora must be at least 1, got {settings['r']}.")
    if settings.get("lora_dropout"):
        raise ValueError(
            f"lora_dropout must be 0, got {settings['lora_dropout']}: an update scores tokens with the network that "
            "they were sampled with."
        )
    settings.setdefault("target_modules", "all-linear")
    settings.setdefault("fan_in_fan_out", any(isinstance(module, Conv1D) for module in model.modules()))
    config = peft.LoraConfig(**{**settings, "task_type": "CAUSAL_LM"})
    model.add_adapter(config)
    return _settings(config)


def switch_off(model: PreTrainedModel) -> None:
    """Make a model with an adapter compute what its base computes."""
    model.disable_adapters()


def save_lora(model: PreTrainedModel, folder: str | Path) -> None:
    """Save the adapter alone, as `peft` and `transformers` load it: `adapter_config.json` and safetensors."""
    model.save_pretrained(folder)


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy without adapter, whose weights have it added to them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    result = copy.deepcopy(model)
    for name, module in list(result.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(result.get_submodule(parent), attribute, module.get_base_layer())
    result._hf_peft_config_loaded = False
    del result.peft_config
    return result.requires_grad_(True)


def _settings(config: Any) -> dict[str, Any]:
    """Return what of an adapter's configuration is not as `peft` would have it anyway, and its rank and modules."""
    usual = type(config)()
    found = {
        declared.name: getattr(config, declared.name)
        for declared in dataclasses.fields(config)
        if declared.init and declared.name not in NOT_OF_THE_SHAPE
    }
    settings = {name: value for name, value in found.items() if value != getattr(usual, name)}
    # In order, so that what is written of a set is the same in every process.
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    return {"r": config.r, "lora_alpha": config.lora_alpha, **plain}


def _import_peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("lora needs the package peft: pip install 'textgym[lora]'.") from error
    return peft
