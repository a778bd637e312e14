"""All settings of a training run: task, algorithm, network, evaluation, and the run itself."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from .algorithm_settings import AlgorithmSettings
from .algorithms import PPOSettings
from .declaring import PlainData, Settings, setting


@dataclass(frozen=True)
class TaskSettings(Settings):
    """What is to be written, and what it is worth; see `textgym.task.TextTask`."""

    title: ClassVar[str] = "Task"

    name: str | None = setting(
        None,
        "A registered task, such as TextGen-Copy-v0 (textgym tasks lists them); it decides the defaults of model, "
        "task, algorithm and evaluation.",
        flags=("--task",),
    )
    prompts: PlainData = setting(  # noqa: RUF009 (a field, no shared value)
        "bundled",
        "Prompts to train on: 'bundled', a .txt, .jsonl or .csv file, or module:attribute; in YAML also a list.",
    )
    reward: PlainData = setting(  # noqa: RUF009 (a field, no shared value)
        "reference_task",
        "Reward: a name (textgym rewards lists them), module:attribute of your own (the current folder is searched), "
        "the folder or hub name of a classifier, the URL of a reward server, or a composition: a list or mapping in "
        "the YAML file, or quoted, '[{keywords: {words: [sea]}, weight: 2}, ends_sentence]'.",
    )
    max_prompt_tokens: int = setting(24, "Longest prompt, in tokens.", least=1)
    max_new_tokens: int = setting(64, "Token budget of a completion.", least=1)
    min_new_tokens: int = setting(0, "No completion may end before this many tokens.", least=0)
    stop: tuple[str, ...] = setting((), "A string that ends a completion; may be given more than once.")
    banned_token_ids: tuple[int, ...] = setting((), "A token that is never allowed; may be given more than once.")
    allowed_token_ids: tuple[int, ...] | None = setting(
        None, "One of the only tokens that are allowed; may be given more than once. [default: all]"
    )
    completions_per_prompt: int | None = setting(
        None, "Completions in a row that get the same prompt. [default: 8 where the algorithm compares them, else 1]",
        least=1,
    )  # fmt: skip
    prompt_order: Literal["random", "sequential"] = setting("random", "How prompts are chosen in training.")
    truncate_prompts: Literal["left"] | None = setting(
        None, "'left' cuts prompts that are too long at their beginning. [default: they are an error]"
    )


@dataclass(frozen=True)
class PolicySettings(Settings):
    """Which part of the network is trained, and in which precision and memory; see `textgym.agents.GPT2Policy`."""

    title: ClassVar[str] = "Network"

    critic: Literal["shared", "separate", "none"] = setting(
        "shared", "Where values come from: the actor's trunk, a trunk of their own, or nowhere."
    )
    frozen_layers: int = setting(0, "Lowest layers that are not trained, nor are the embeddings then.", least=0)
    lora_rank: int | None = setting(
        None, "Train a low-rank adapter of this rank, which needs peft. [default: train the model itself]", least=1
    )
    autocast: Literal["bfloat16"] | None = setting(
        None, "'bfloat16' computes matrix products in it. [default: float32]"
    )
    micro_batch_size: int | None = setting(
        None, "Tokens of one forward pass in an update, to save memory. [default: all of the minibatch]", least=1
    )
    gradient_checkpointing: bool = setting(False, "Keep less for the backward pass, and compute it again.")

    def policy_arguments(self) -> dict[str, Any]:
        """Return the policy's keyword arguments that are not its defaults; not every policy has all of them."""
        names = {"lora_rank": "lora"}
        given = {
            names.get(declared.name, declared.name): getattr(self, declared.name)
            for declared in fields(self)
            if getattr(self, declared.name) != declared.default
        }
        return {name: None if value == "none" else value for name, value in given.items()}


@dataclass(frozen=True)
class EvaluationSettings(Settings):
    """How the model is judged before and after training."""

    title: ClassVar[str] = "Evaluation"

    eval_prompts: PlainData = setting(  # noqa: RUF009 (a field, no shared value)
        None,
        "Prompts to evaluate on. [default: the bundled held-out ones if the bundled ones are trained on, else those "
        "trained on]",
    )
    judge: PlainData = setting(  # noqa: RUF009 (a field, no shared value)
        None,
        "Another reward, given as --reward is, that scores the completions of the evaluation and that nothing is "
        "trained on. [default: none]",
    )
    eval_completions: int = setting(
        256, "Completions to evaluate: of the held-out prompts in turn, from the first on.", least=1
    )
    eval_seed: int = setting(12345, "Seed of the evaluation, the same before and after.", least=0)
    sample_every: int = setting(25_000, "Write a few samples every so many tokens.", least=1)
    table_rows: int = setting(6, "Prompts in the table at the end, and in the samples on the way.", least=1)


@dataclass(frozen=True)
class TrainSettings(Settings):
    """All settings of a run; with the same ones it repeats exactly."""

    title: ClassVar[str] = "Run"

    model: str = setting("bundled", "Model to train: 'bundled', a folder, a run folder, or a hub name such as gpt2.")
    total_tokens: int = setting(
        160_000, "Tokens to generate in training.", flags=("--total-tokens", "--steps"), least=1
    )
    initial_share: float = setting(
        0.0,
        "Share of the weights that training began with in the model that is evaluated and written at the end: with a "
        "tenth, texts are nearer to the language for hardly any score.",
        least=0,
        most=1,
    )
    seed: int = setting(1, "Decides prompts, completions and minibatches.", least=0, most=2**31 - 1)
    device: str = setting("auto", "auto, cpu or cuda.")
    checkpoint_seconds: float = setting(
        30.0, "Save after each update that ends this long after the last save; 0 saves after every one.", least=0
    )
    task: TaskSettings = TaskSettings()
    algorithm: AlgorithmSettings = PPOSettings()  # noqa: RUF009 (it is frozen)
    policy: PolicySettings = PolicySettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @property
    def eval_prompts(self) -> PlainData:
        """The prompts that are evaluated on."""
        if self.evaluation.eval_prompts is not None:
            return self.evaluation.eval_prompts
        return "bundled:held_out" if self.task.prompts == "bundled" else self.task.prompts

    @property
    def completions_per_prompt(self) -> int:
        """Completions in a row that get the same prompt in training."""
        return self.task.completions_per_prompt or self.algorithm.completions_per_prompt
