"""Load tokenizers and causal language models by object, folder or hub name; no name means the bundled ones."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .devices import find_device
from .symbols import names_symbols, symbol_model, symbol_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUNDLED_MODEL = "bundled"
VERSIONS_FILE = "versions.json"  # of a run's folder
BUNDLED_MODEL_FOLDER = Path(__file__).parent / "bundled" / "gpt2-textgym"
VOCABULARY_FILES = {"tokenizer.*", "tekken.json", "*.model"}  # of any tokenizer, besides those that its class names


def load_tokenizer(name: "str | Path | PreTrainedTokenizerBase | None" = None) -> "PreTrainedTokenizerBase":
    """Load a tokenizer.

    Args:
        name: A tokenizer (returned as it is), a folder, a name on the Hugging Face hub, a tiny vocabulary
            (`"symbols:abc>"`), or None for the bundled one.

    Returns:
        A tokenizer with an end-of-sequence token.

    Raises:
        ValueError: If nothing can be loaded under that name, or the tokenizer has no vocabulary or no end-of-sequence
            token.
        TypeError: If `name` is none of these.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(name, str | Path | PreTrainedTokenizerBase | None):
        raise TypeError(f"expected a tokenizer, a folder or a name, got {name!r} of type {type(name).__name__}.")
    if isinstance(name, PreTrainedTokenizerBase):
        tokenizer = name
    elif names_symbols(name):
        tokenizer = symbol_tokenizer(str(name))
    else:
        tokenizer = load_saved_tokenizer(model_source(name))
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "The tokenizer has no end-of-sequence token, without which no completion can end by itself; "
            "set tokenizer.eos_token to one of its tokens."
        )
    if len(tokenizer) < 2:
        raise ValueError(f"expected a tokenizer with a vocabulary, got one of {len(tokenizer)} tokens from {name!r}.")
    return tokenizer


def load_saved_tokenizer(source: str, **options: Any) -> "PreTrainedTokenizerBase":
    """Load a tokenizer as it was saved, with its vocabulary.

    Where a folder has none, transformers makes one up of special tokens alone, by which all texts are alike. Tokenizers
    that need none, of bytes or of characters, need no file either.

    Args:
        source: A folder, or a name on the Hugging Face hub.
        **options: Further ones of `from_pretrained`.

    Raises:
        ValueError: If there is no tokenizer, or it is a folder without its vocabulary.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

    failure: Exception | None = None
    tokenizer_class: type[PreTrainedTokenizerBase] = PreTrainedTokenizerFast
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **options)
        tokenizer_class = type(tokenizer)
    except (OSError, TypeError, ValueError) as error:  # TypeError: where one opens its vocabulary's file, named None
        failure = error
    files = {*tokenizer_class.vocab_files_names.values()}
    if files and Path(source).is_dir() and not any(any(Path(source).glob(file)) for file in files | VOCABULARY_FILES):
        raise ValueError(
            f"The folder {source} holds no tokenizer's vocabulary, such as a tokenizer.json; save the tokenizer there "
            f"too, by tokenizer.save_pretrained({source!r})."
        ) from failure
    if failure is not None:
        raise ValueError(load_failure("tokenizer", source, failure)) from failure
    return tokenizer


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], what: str) -> list[list[int]]:
    """Return the tokens of each text, without any that a tokenizer would add.

    Args:
        tokenizer: The tokenizer.
        texts: The texts.
        what: What they are, to be named in the error, such as "prompts".

    Raises:
        ValueError: If the tokenizer has no tokens for one of them; the message names the characters that it lacks.
    """
    try:
        # Not verbose: a text beyond the model's context is our own error, with no warning before it.
        token_ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:  # the tokenizers library raises no narrower one
        lacking = [character for character in sorted(set("".join(texts))) if not _encodes(tokenizer, character)]
        named = f"its vocabulary has no {', '.join(map(repr, lacking))}" if lacking else str(error)
        raise ValueError(
            f"The tokenizer cannot encode the {what} ({named}); use its vocabulary alone, or another tokenizer."
        ) from error
    return token_ids


def _encodes(tokenizer: "PreTrainedTokenizerBase", text: str) -> bool:
    try:
        tokenizer(text, add_special_tokens=False)
    except Exception:  # the tokenizers library raises no narrower one
        return False
    return True


def load_language_model(name: "str | Path | PreTrainedModel | None" = None) -> "PreTrainedModel":
    """Load a causal language model in float32, in evaluation mode, on the CPU.

    Args:
        name: A model (returned as it is), a folder, a name on the Hugging Face hub such as `"gpt2"`, a tiny vocabulary
            (`"symbols:abc>"`, for a small GPT-2 of random weights), or None for the bundled GPT-2.

    Returns:
        The model with its language head.

    Raises:
        ValueError: If nothing can be loaded under that name, or a part of the model is missing.
    """
    from transformers import AutoModelForCausalLM, PreTrainedModel

    if isinstance(name, PreTrainedModel):
        return name
    if names_symbols(name):
        return symbol_model(str(name))
    from .whole_models import load_whole

    model = load_whole(AutoModelForCausalLM, model_source(name), "language model")
    model.eval()
    return model


def load_sequence_classifier(
    name: str, device: str = "auto", *, allow_pickle: bool = False
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a sequence-classification model and its tokenizer.

    Args:
        name: A folder, or a name on the Hugging Face hub.
        device: See `move_model`.
        allow_pickle: Also load weights that only come as a pickle, which can run any code.

    Returns:
        The model in float32 and evaluation mode, and a tokenizer that cuts long texts at their beginning.

    Raises:
        ValueError: If nothing can be loaded under that name, it is a model of another kind, a part or the tokenizer is
            missing, or the weights are a pickle that is not allowed.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from .whole_models import load_whole

    refuse_missing_folder("sequence classifier", name)
    if not allow_pickle:
        refuse_pickled_weights(name)
    try:
        kinds = AutoConfig.from_pretrained(name).architectures or []
        if kinds and not any("SequenceClassification" in kind for kind in kinds):
            # transformers would load it all the same, with a classifier of random weights.
            raise ValueError(f"{name} holds {' and '.join(kinds)}, expected a model for sequence classification.")
    except OSError as error:
        raise ValueError(load_failure("sequence classifier", name, error)) from error
    safe_only = None if allow_pickle else True  # None takes safe weights where there are any
    model = load_whole(AutoModelForSequenceClassification, name, "sequence classifier", use_safetensors=safe_only)
    tokenizer = load_saved_tokenizer(name, truncation_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id  # which is what rows are padded with
    if model.config.model_type != "xlnet":
        # Padding before a text moves it to other positions; tokenizers of language models have it there for writing.
        # XLNet reads the last position, and knows positions from their distances alone.
        tokenizer.padding_side = "right"
    model.eval()
    return move_model(model, device), tokenizer


def move_model(model: "PreTrainedModel", device: str) -> "PreTrainedModel":
    """Move a model to a device; see `find_device`."""
    moved: PreTrainedModel = model.to(find_device(device))  # type: ignore[arg-type]  # transformers' decorator hides the signature
    return moved


def model_source(name: "str | Path | None") -> str:
    """Return the folder or hub name that a name stands for; None and "bundled" are the bundled model's folder.

    Raises:
        ValueError: If it is the path of a folder that is not there, or "bundled" misspelt.
    """
    source = BUNDLED_MODEL if name is None else str(name)
    if source == BUNDLED_MODEL:
        return str(BUNDLED_MODEL_FOLDER)
    refuse_missing_folder("model", source)
    # Without a network the hub's client would try for a minute before it says so.
    if not Path(source).exists() and difflib.get_close_matches(source, [BUNDLED_MODEL], cutoff=0.8):
        raise ValueError(load_failure("model", source))
    return source


def refuse_missing_folder(what: str, source: str) -> None:
    """Refuse the path of a folder that is not there, which without a network the hub would be asked for in vain.

    A path is what cannot be a name on the hub, and what would lie beside runs.

    Raises:
        ValueError: If it is such a path.
    """
    path = Path(source)
    is_path = path.is_absolute() or source.startswith((".", "~")) or len(path.parts) > 2
    is_beside_runs = path.parent.is_dir() and any(path.parent.glob(f"*/{VERSIONS_FILE}"))
    if not path.exists() and (is_path or (len(path.parts) > 1 and is_beside_runs)):
        raise ValueError(load_failure(what, source))


def refuse_pickled_weights(source: str) -> None:
    """Refuse a folder whose weights only come as a pickle; of the hub's models nothing is known here.

    Raises:
        ValueError: If it is such a folder.
    """
    folder = Path(source)
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"The folder {source} has its weights as a pickle only, which can run any code; if you trust it, set "
            "allow_pickle to True."
        )


def load_failure(what: str, source: str, error: Exception | None = None) -> str:
    """Say what was expected where nothing could be loaded from `source`, with the nearest match and the cause.

    Args:
        what: What was looked for.
        source: A folder, or a name.
        error: What transformers said; None where it was not asked.
    """
    cause = ""
    if error is not None and (Path(source) / "config.json").is_file():
        cause = str(error)
    elif error is not None and not Path(source).is_dir():
        # Of what the hub says, the first line tells: no such name, no network, no right to it.
        cause = next(iter(str(error).splitlines()), "")
    return _expectation(what, source) + (f" ({' '.join(cause.split())})" if cause else "")


def _expectation(what: str, source: str) -> str:
    if Path(source).is_dir():
        return f"The folder {source} holds no {what} that transformers can load; expected what save_pretrained writes."
    message = f"No {what} named {source!r}: expected a folder, a name on the Hugging Face hub, or {BUNDLED_MODEL!r}."
    if what not in ("tokenizer", "language model", "model"):  # which are bundled
        message = f"No {what} named {source!r}: expected a folder, or a name on the Hugging Face hub."
    parent = Path(source).parent
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(source).name, [BUNDLED_MODEL, *siblings], n=1)
    return message + (f" Did you mean {near[0]!r}?" if near else "")
