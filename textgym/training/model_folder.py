"""A trained language model as a folder that any `transformers` program loads, and where a name's folder is."""

import copy
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from textgym.agents.language_policy import LanguagePolicy
from textgym.agents.lora import merged
from textgym.replacing import replacing_folder
from textgym.shell_words import as_typed
from textgym.task import TextTask

from .run_folder import RunFolder


def find_model(name: str) -> str:
    """Return what to load for a name: a run folder's language model, any other folder's absolute path, or the name.

    Raises:
        ValueError: If it is a run folder that has no model yet.
    """
    path = Path(name)
    if not path.is_dir():
        return name
    run = RunFolder(path)
    if not run.config.is_file() or not run.versions.is_file():
        return str(path.resolve())
    if not run.language_model.is_dir():
        raise ValueError(
            f"The run in {path} has no language_model yet; go on with it by: textgym train --resume {as_typed(path)}"
        )
    return str(run.language_model.resolve())


def save_language_model(
    policy: LanguagePolicy, task: TextTask, folder: Path, temperature: float | None, top_p: float | None = None
) -> None:
    """Save a language model, with its adapter merged into it, and tokenizer, set to generate as it was trained to.

    Args:
        policy: The policy.
        task: Gives the tokenizer and the token budget.
        folder: Where to save.
        temperature: To sample at; None for the most probable token, which is a Q-network's best one.
        top_p: Probability of the tokens to sample from; None for all.
    """
    model: PreTrainedModel = policy.language_model if policy.lora is None else merged(policy.language_model)
    tokenizer: PreTrainedTokenizerBase = task.tokenizer
    before = model.generation_config
    model.generation_config = _generation_config(before, task, temperature, top_p)
    try:
        with replacing_folder(folder) as partial:
            model.save_pretrained(partial)
            # safetensors lets nobody but the writer read its files.
            for weights in partial.glob("*.safetensors"):
                weights.chmod((partial / "config.json").stat().st_mode)
            tokenizer.save_pretrained(str(partial))
    finally:
        model.generation_config = before


def _generation_config(
    before: GenerationConfig | None, task: TextTask, temperature: float | None, top_p: float | None
) -> GenerationConfig:
    config = copy.deepcopy(before) if before is not None else GenerationConfig()
    config.do_sample = temperature is not None
    # transformers' default of top_k is 50, which training knew nothing of; and it refuses any where nothing is sampled.
    config.temperature, config.top_k, config.top_p = temperature, None if temperature is None else 0, top_p
    config.max_new_tokens = task.max_new_tokens
    config.eos_token_id = task.eos_token_id
    config.pad_token_id = task.pad_token_id
    return config
