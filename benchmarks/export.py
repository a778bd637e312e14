"""Write what is shipped of a pre-training run: rescaled half-precision weights, tokenizer, settings and model card.

    python -m textgym.benchmarks.export --run FOLDER --corpus FOLDER --to textgym/bundled/gpt2-textgym

The exported weights, not the run's, are measured on all held-out texts; the measurements go into the run's
`evaluation.json`. Works on the last checkpoint, be the run finished or not.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from textgym.cli.errors import checked_input

from .pretraining.corpus import read_corpus
from .pretraining.evaluation import evaluate_model
from .pretraining.model_card import write_model_card
from .pretraining.rescaling import rescale
from .pretraining.run_folder import EXPORTED_RECORD, RunFolder


def export_model(run: RunFolder, to: Path) -> int:
    """Write weights, tokenizer and generation settings of a run's last checkpoint.

    Args:
        run: Where the run's files are.
        to: Folder that is written to.

    Returns:
        The checkpoint's step.

    Raises:
        ValueError: If the run has no checkpoint yet.
    """
    state = run.load_checkpoint()
    if state is None:
        raise ValueError(f"expected a pre-training run in {run.path}, found no {run.checkpoint_file.name}")
    # Dropout is the run's; whoever trains the model on decides anew.
    config = GPT2Config.from_pretrained(run.path, embd_pdrop=0.0, resid_pdrop=0.0)
    model = GPT2LMHeadModel(config)
    model.load_state_dict(state["model"])
    rescale(model)
    model.half()
    context = config.n_positions
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.eos_token_id,
        do_sample=True,
        top_k=0,
        # transformers.pipeline would go on for 256 tokens, beyond the context.
        max_new_tokens=context // 2,
    )
    model.save_pretrained(to)
    # Stored in half precision, used in single: processors without half-precision arithmetic are slow in it.
    config_file = to / "config.json"
    exported = json.loads(config_file.read_text(encoding="utf-8"))
    exported["dtype"] = "float32"
    config_file.write_text(json.dumps(exported, indent=2) + "\n", encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run.path, model_max_length=context, padding_side="left")
    tokenizer.save_pretrained(to)
    step: int = state["step"]
    return step


def evaluate_export(run: RunFolder, corpus: Path, to: Path, step: int) -> dict[str, Any]:
    """Measure exported weights, and keep the measurements in the run's folder."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(to)
    model = GPT2LMHeadModel.from_pretrained(to, dtype=torch.float32)
    model.eval()
    rows = [row for row in run.log_rows() if int(row["step"]) == step]
    evaluation = {
        "step": step,
        "loss": float(rows[-1]["loss"]) if rows else None,
        "weights_bytes": (to / "model.safetensors").stat().st_size,
        **evaluate_model(model, tokenizer, read_corpus(corpus)),
    }
    run.write_json(run.path / "evaluation.json", evaluation)
    return evaluation


def main(
    run: Annotated[Path, typer.Option(help="Folder of a run of textgym.benchmarks.pretrain.", exists=True)],
    corpus: Annotated[Path, typer.Option(help="The folder of texts that the run was given.", exists=True)],
    to: Annotated[Path, typer.Option(help="Folder to write to.")],
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice by default.")] = None,
) -> None:
    """Export a pre-trained model, with its model card."""
    if threads is not None:
        torch.set_num_threads(threads)
    folder = RunFolder(run)
    with checked_input():
        record = folder.read_record()
        if record is None:
            raise ValueError(f"expected a pre-training run in {run}, found no {folder.record_file.name}")
        step = export_model(folder, to)
    evaluation = evaluate_export(folder, corpus, to, step)
    run_record = {**record, "step": step}
    folder.write_json(to / EXPORTED_RECORD, run_record)
    config = json.loads((to / "config.json").read_text(encoding="utf-8"))
    (to / "README.md").write_text(write_model_card(record, config, evaluation), encoding="utf-8")
    bits = {source["name"]: source["bits_per_byte"] for source in evaluation["sources"]}
    print(f"exported step {step} to {to}: {evaluation['weights_bytes'] / 1e6:.1f} MB, held-out bits per byte {bits}")


if __name__ == "__main__":
    typer.run(main)
