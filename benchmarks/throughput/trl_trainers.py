"""One iteration of TRL's online trainers, with a reference model, on the tasks that are measured here."""

import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from .inputs import Setting, make_model, make_prompts, make_task, make_tokenizer, share_of_vowels

TRAINERS = ("RLOO", "GRPO")
NOT_INSTALLED = "TRL is not installed; pip install -e '.[bench]' -c constraints.txt"
ITERATIONS_A_REPEAT = 2


def has_trl() -> bool:
    """Whether TRL can be imported."""
    return find_spec("trl") is not None


class _StepClock(TrainerCallback):
    """Adds up the time from the beginning to the end of steps: generation, reward, reference, update."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        self._began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Add the time that has passed."""
        self.seconds += time.perf_counter() - self._began


class TRLIteration:
    """Runs a few iterations of a TRL trainer at a time, each of one optimiser step an epoch on all its completions.

    Args:
        name: `"RLOO"` or `"GRPO"`.
        setting: Sizes; as many completions as it has environments, at least two of each prompt.
        beta: Coefficient of the KL; above 0, so that there is a reference.
    """

    def __init__(self, name: str, setting: Setting, beta: float = 0.02) -> None:
        self.setting = setting
        # TRL makes its reference from the model's name, once.
        with tempfile.TemporaryDirectory() as folder:
            self.trainer = _make_trainer(name, setting, folder, beta)

    def __call__(self) -> float:
        """Return generated tokens a second, from the beginning to the end of the trainer's steps."""
        clock = _StepClock()
        self.trainer.add_callback(clock)
        self.trainer.train()
        self.trainer.remove_callback(clock)
        return ITERATIONS_A_REPEAT * self.setting.rollout_tokens / clock.seconds


def _make_trainer(name: str, setting: Setting, folder: str, beta: float) -> Any:
    # By name, because type checkers may not have TRL at hand.
    trl, datasets = import_module("trl"), import_module("datasets")

    task, tokenizer = make_task(setting), make_tokenizer(setting.vocab_size)
    make_model(setting).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = getattr(trl, f"{name}Config")(
        output_dir=folder,
        per_device_train_batch_size=setting.num_envs,
        num_generations=setting.completions_per_prompt,
        max_completion_length=setting.new_tokens,
        # All completions have the full length, as ours have.
        generation_kwargs={"min_new_tokens": setting.new_tokens, "suppress_tokens": [task.eos_token_id]},
        beta=beta,
        temperature=1.0,
        num_iterations=setting.n_epochs,
        steps_per_generation=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        learning_rate=1e-5,
        max_steps=ITERATIONS_A_REPEAT * setting.n_epochs,
        # By default it trains in bfloat16, which is emulated on processors without instructions for it.
        bf16=setting.autocast == "bfloat16",
        use_cpu=setting.device == "cpu",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    prompts = make_prompts(setting.num_envs, setting.prompt_tokens)
    data = datasets.Dataset.from_dict({"prompt": prompts * ITERATIONS_A_REPEAT})
    trainer = getattr(trl, f"{name}Trainer")(
        model=folder, args=config, processing_class=tokenizer, reward_funcs=share_of_vowels, train_dataset=data
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
