"""Load a model of transformers whole or not at all: what its weights lack, transformers fills with random numbers."""

from typing import TYPE_CHECKING, Any

from .models import load_failure

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARTS_SHOWN = 4
REMEDY = "copy or save the model anew"


def load_whole(
    auto_class: Any, source: str, what: str, *, unused: tuple[str, ...] = (), **options: Any
) -> "PreTrainedModel":
    """Load a model in float32, on the CPU, and refuse one of which a part is missing.

    Args:
        auto_class: One of transformers' `AutoModel…`.
        source: A folder, or a name on the Hugging Face hub.
        what: What is looked for, for an error.
        unused: First words of the names of parts that the caller does not use, such as "pooler"; these may be missing.
        **options: Further ones of `from_pretrained`.

    Raises:
        ValueError: If there is no model, or weights are missing, damaged, or of another size than its configuration
            says.
    """
    import torch
    from safetensors import SafetensorError

    try:
        model, found = auto_class.from_pretrained(
            source,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # is an error all the same, below, and one that says which
            **options,
        )
    except SafetensorError as error:
        raise ValueError(f"The weights in {source} are damaged ({error}); {REMEDY}.") from error
    except (OSError, ValueError) as error:
        raise ValueError(load_failure(what, source, error)) from error
    missing = sorted(key for key in found["missing_keys"] if key.partition(".")[0] not in unused)
    if missing:
        n_missing = f"{len(missing)} of the {len(model.state_dict())} parts"
        raise ValueError(
            f"The weights in {source} lack {n_missing} of a {type(model).__name__}, which would be random numbers: "
            f"{_listed(missing)}; {REMEDY}."
        )
    if found["mismatched_keys"]:
        sizes = [
            f"{key} has {_size(there)}, expected {_size(expected)}"
            for key, there, expected in sorted(found["mismatched_keys"])
        ]
        raise ValueError(f"The weights in {source} do not fit its config.json: {_listed(sizes)}; {REMEDY}.")
    loaded: PreTrainedModel = model
    return loaded


def _listed(parts: list[str]) -> str:
    more = f" and {len(parts) - PARTS_SHOWN} more" if len(parts) > PARTS_SHOWN else ""
    return ", ".join(parts[:PARTS_SHOWN]) + more


def _size(shape: Any) -> str:
    return " × ".join(map(str, shape))
