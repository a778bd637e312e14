"""Every setting of a training run, with its default, its range and its help; the demo's hyper-parameters are these.

A setting stands here once: the command line's options, the YAML file and its checks are all made from these classes.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

Value = TypeVar("Value")
# What a YAML file may hold: a name, or a list or mapping.
PlainData: TypeAlias = Any


def setting(
    default: Value,
    description: str,
    *,
    flags: tuple[str, ...] = (),
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Value:
    """Declare a setting.

    Args:
        default: Its default.
        description: Its help.
        flags: Its options on the command line; by default its name with dashes.
        above: It has to be above this.
        least: It has to be at least this.
        most: It has to be at most this.

    Returns:
        A dataclass field, in the guise of its value.
    """
    bounds = {"above": above, "least": least, "most": most}
    declared: Any = field(default=default, metadata={"help": description, "flags": flags, **bounds})
    return declared  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Settings:
    """A section of settings; checks their ranges.

    Raises:
        ValueError: If a number is out of range.
    """

    title: ClassVar[str] = "Options"

    def __post_init__(self) -> None:
        """Check the ranges of all numbers."""
        for declared in fields(self):
            value = getattr(self, declared.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                check_range(declared.name, value, **{key: declared.metadata.get(key) for key in BOUNDS})


BOUNDS = ("above", "least", "most")


def check_range(name: str, value: float, above: float | None, least: float | None, most: float | None) -> None:
    """Raise ValueError if a number is not finite or out of range; None is no bound."""
    is_inside = (
        (above is None or value > above) and (least is None or value >= least) and (most is None or value <= most)
    )
    if is_inside and math.isfinite(value):
        return
    bounds = {"above": above, "at least": least, "at most": most}
    wanted = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
    raise ValueError(f"{name} must be {wanted or 'finite'}, got {value}.")


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


def algorithm_name(default: str) -> str:
    """Declare the setting that tells one algorithm's settings from another's."""
    return setting(default, "The learning algorithm; it decides the defaults.", flags=("--algorithm", "--algo"))


@dataclass(frozen=True)
class AlgorithmSettings(Settings):
    """What the settings of every algorithm have in common.

    To add an algorithm: subclass this, or the nearest of its subclasses, and name the subclass in `ALGORITHMS`.
    """

    title: ClassVar[str] = "Algorithm"
    class_path: ClassVar[str] = ""
    # Where the task leaves it to the algorithm.
    completions_per_prompt: ClassVar[int] = 1

    name: str = algorithm_name("PPO")

    @property
    def writing_temperature(self) -> float | None:
        """Temperature at which a trained model writes as in training; None where it takes the most probable token."""
        raise NotImplementedError

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the algorithm's class, but for `policy`, `env`, `seed` and `device`."""
        raise NotImplementedError


@dataclass(frozen=True)
class RolloutSettings(AlgorithmSettings):
    """What every on-policy algorithm takes; explained in `textgym.agents.on_policy.SequenceOptions`."""

    learning_rate: float = setting(3e-4, "Step size of Adam.", above=0)
    learning_rate_end: float = setting(
        1.0, "Share of the learning rate that is left at the end; it falls linearly.", least=0, most=1
    )
    tokens_per_rollout: int = setting(4096, "Tokens generated between two updates, nearly.", least=2)
    kl_coef: float = setting(0.01, "Reward lost for each nat of KL to the model that training began with.", least=0)
    reference: str | None = setting(
        None, "Model that KL is measured against: a folder, a run folder, or a hub name. [default: the one trained]"
    )
    kl_target: float | None = setting(
        None, "KL, in nats a completion, towards which kl-coef is adapted. [default: kl-coef stays]", above=0
    )
    kl_horizon: int = setting(1000, "Episodes over which kl-coef is adapted by at most a fifth.", least=1)
    temperature: float = setting(1.0, "Divides the logits, in training and evaluation.", above=0)
    decode_rows: int = setting(128, "Completions generated side by side; changes speed alone.", least=1)

    @property
    def writing_temperature(self) -> float | None:
        """The temperature of training."""
        return self.temperature

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the algorithm's class, but for `policy`, `env`, `seed` and `device`."""
        not_the_class_s = {"name", "tokens_per_rollout", "temperature", "learning_rate_end"}
        not_the_class_s |= {"reference"} if self.reference is None else set()
        names = {declared.name for declared in fields(self)} - not_the_class_s
        arguments = {name: getattr(self, name) for name in sorted(names)}
        if self.learning_rate_end < 1:
            from stable_baselines3.common.utils import LinearSchedule

            arguments["learning_rate"] = LinearSchedule(
                self.learning_rate, self.learning_rate_end * self.learning_rate, end_fraction=1.0
            )
        # One row, so that a step of Stable-Baselines3 is one token.
        return {**arguments, "n_steps": self.tokens_per_rollout, "policy_kwargs": {"temperature": self.temperature}}


@dataclass(frozen=True)
class OnPolicySettings(RolloutSettings):
    """What algorithms whose loss is one sum take besides."""

    ent_coef: float = setting(0.0, "Reward for entropy.", least=0)
    max_grad_norm: float = setting(0.5, "Bound on the gradient's norm.", above=0)


@dataclass(frozen=True)
class AdvantageSettings(RolloutSettings):
    """What on-policy algorithms with a critic take besides."""

    gamma: float = setting(1.0, "Discount.", above=0, most=1)
    gae_lambda: float = setting(
        0.95, "Trade-off of generalized advantages: 0 little variance, 1 no bias.", least=0, most=1
    )
    potential_shaping: bool = setting(True, "Pay the score at the tokens that earn it rather than at the last one.")
    self_imitation: float = setting(
        0.3, "Best episodes so far that each update replays, as a share of its own.", least=0, most=1
    )


@dataclass(frozen=True)
class CriticSettings(AdvantageSettings, OnPolicySettings):
    """What algorithms take whose critic is a part of the loss."""

    vf_coef: float = setting(0.5, "Weight of the value loss.", least=0)


@dataclass(frozen=True)
class ClippedSettings(OnPolicySettings):
    """What algorithms with PPO's clipped loss take besides."""

    batch_size: int = setting(1024, "Tokens in a minibatch, nearly.", least=2)
    n_epochs: int = setting(2, "Passes over each rollout.", least=1)
    clip_range: float = setting(0.3, "Bound on the change of a token's probability ratio.", above=0)
    target_kl: float | None = setting(
        None, "End an update early at this KL from the policy before it. [default: never]", above=0
    )


@dataclass(frozen=True)
class PPOSettings(ClippedSettings, CriticSettings):
    """Settings of `textgym.agents.PPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:PPO"

    learning_rate: float = setting(4e-4, "Step size of Adam.", above=0)
    learning_rate_end: float = setting(
        0.1, "Share of the learning rate that is left at the end; it falls linearly.", least=0, most=1
    )
    kl_coef: float = setting(0.005, "Reward lost for each nat of KL to the model that training began with.", least=0)


@dataclass(frozen=True)
class A2CSettings(CriticSettings):
    """Settings of `textgym.agents.A2C`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:A2C"

    name: str = algorithm_name("A2C")


@dataclass(frozen=True)
class REINFORCESettings(OnPolicySettings):
    """Settings of `textgym.agents.REINFORCE`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:REINFORCE"

    name: str = algorithm_name("REINFORCE")
    baseline: Literal["none", "moving_average", "leave_one_out", "group_normalized"] = setting(
        "moving_average", "What a completion's return is compared with; the last two need completions-per-prompt."
    )


@dataclass(frozen=True)
class RLOOSettings(OnPolicySettings):
    """Settings of `textgym.agents.RLOO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:RLOO"
    completions_per_prompt: ClassVar[int] = 8

    name: str = algorithm_name("RLOO")


@dataclass(frozen=True)
class GRPOSettings(ClippedSettings):
    """Settings of `textgym.agents.GRPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:GRPO"
    completions_per_prompt: ClassVar[int] = 8

    name: str = algorithm_name("GRPO")


@dataclass(frozen=True)
class MaskablePPOSettings(PPOSettings):
    """Settings of `textgym.agents.MaskablePPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:MaskablePPO"

    name: str = algorithm_name("MaskablePPO")


@dataclass(frozen=True)
class NLPOSettings(PPOSettings):
    """Settings of `textgym.agents.NLPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:NLPO"

    name: str = algorithm_name("NLPO")
    top_p: float = setting(0.9, "Probability of the tokens that are chosen among.", above=0, most=1)
    mask_update_interval: int = setting(5, "Rollouts after which these are those of the newest policy.", least=1)


@dataclass(frozen=True)
class PPGSettings(PPOSettings):
    """Settings of `textgym.agents.PPG`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:PPG"

    name: str = algorithm_name("PPG")
    n_policy_iterations: int = setting(8, "Rollouts between two auxiliary phases.", least=1)
    n_aux_epochs: int = setting(2, "Passes over these rollouts in an auxiliary phase.", least=1)
    beta_clone: float = setting(1.0, "Weight of KL in the auxiliary phase.", least=0)


@dataclass(frozen=True)
class TRPOSettings(AdvantageSettings):
    """Settings of `textgym.agents.TRPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:TRPO"

    name: str = algorithm_name("TRPO")
    learning_rate: float = setting(1e-3, "Step size of Adam, for the critic alone.", above=0)
    batch_size: int = setting(1024, "Tokens in a minibatch of the critic, nearly.", least=1)
    target_kl: float = setting(0.02, "Nats a token that one update may move the policy.", above=0)
    cg_max_steps: int = setting(10, "Steps of the conjugate gradient.", least=1)
    cg_damping: float = setting(0.01, "Added to the diagonal of the curvature.", least=0)
    n_critic_updates: int = setting(5, "The critic's passes over each rollout.", least=1)
    sub_sampling_factor: int = setting(1, "Of this many tokens the policy's update uses one.", least=1)
    curvature_share: float = setting(
        0.25, "Share of the episodes that the curvature of KL is measured on.", above=0, most=1
    )


@dataclass(frozen=True)
class ValueSettings(AlgorithmSettings):
    """What every value-based algorithm takes; explained in `textgym.agents.off_policy.ValueOptions`."""

    learning_rate: float = setting(3e-4, "Step size of Adam.", above=0)
    tokens_per_rollout: int = setting(1024, "Tokens generated between two updates, nearly.", least=2)
    batch_size: int = setting(512, "Tokens in a minibatch, nearly.", least=2)
    gradient_steps: int = setting(8, "Minibatches learned from after each rollout.", least=1)
    buffer_size: int = setting(200_000, "Tokens kept to be learned from again.", least=1)
    learning_starts: int = setting(4096, "Tokens explored before the first update.", least=0)
    target_update_interval: int = setting(2048, "Tokens between two updates of the target network.", least=1)
    n_steps: int = setting(4, "Rewards summed before the target network's value counts.", least=1)
    exploration: Literal["reference", "uniform"] = setting(
        "reference", "Explore by the model that training began with, or uniformly."
    )
    exploration_fraction: float = setting(0.5, "Share of training in which exploration falls.", above=0, most=1)
    exploration_initial_eps: float = setting(1.0, "Share of explored tokens at first.", least=0, most=1)
    exploration_final_eps: float = setting(0.02, "Share of explored tokens in the end.", least=0, most=1)
    candidates: int | None = setting(
        None, "Consider only so many tokens, the most probable ones before training. [default: all]", least=1
    )
    advantage_scale: float = setting(0.1, "Reward for which a token becomes e times as likely.", above=0)
    gamma: float = setting(1.0, "Discount.", above=0, most=1)
    max_grad_norm: float = setting(1.0, "Bound on the gradient's norm.", above=0)
    potential_shaping: bool = setting(True, "Pay the score at the tokens that earn it rather than at the last one.")
    decode_rows: int = setting(128, "Completions generated side by side; changes speed alone.", least=1)

    @property
    def writing_temperature(self) -> float | None:
        """None: the best token is the most probable one."""
        return None

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the algorithm's class, but for `policy`, `env`, `seed` and `device`."""
        of_policy = {declared.name for declared in fields(self)} & {"advantage_scale", "n_quantiles"}
        names = {declared.name for declared in fields(self)} - {"name", "tokens_per_rollout"} - of_policy
        arguments = {name: getattr(self, name) for name in sorted(names)}
        policy_kwargs = {name: getattr(self, name) for name in sorted(of_policy)}
        return {**arguments, "train_freq": self.tokens_per_rollout, "policy_kwargs": policy_kwargs}


@dataclass(frozen=True)
class DQNSettings(ValueSettings):
    """Settings of `textgym.agents.DQN`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:DQN"

    name: str = algorithm_name("DQN")


@dataclass(frozen=True)
class DoubleDQNSettings(ValueSettings):
    """Settings of `textgym.agents.DoubleDQN`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:DoubleDQN"

    name: str = algorithm_name("DoubleDQN")


@dataclass(frozen=True)
class QRDQNSettings(ValueSettings):
    """Settings of `textgym.agents.QRDQN`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:QRDQN"

    name: str = algorithm_name("QRDQN")
    n_quantiles: int = setting(8, "Quantiles of the return.", least=1)


ALGORITHMS: dict[str, type[AlgorithmSettings]] = {
    "PPO": PPOSettings,
    "A2C": A2CSettings,
    "REINFORCE": REINFORCESettings,
    "RLOO": RLOOSettings,
    "GRPO": GRPOSettings,
    "MaskablePPO": MaskablePPOSettings,
    "NLPO": NLPOSettings,
    "PPG": PPGSettings,
    "TRPO": TRPOSettings,
    "DQN": DQNSettings,
    "DoubleDQN": DoubleDQNSettings,
    "QRDQN": QRDQNSettings,
}


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
    eval_completions: int = setting(256, "Completions to evaluate.", least=1)
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
    seed: int = setting(1, "Decides prompts, completions and minibatches.", least=0, most=2**31 - 1)
    device: str = setting("auto", "auto, cpu or cuda.")
    checkpoint_seconds: float = setting(
        30.0, "Save after each update that ends this long after the last save; 0 saves after every one.", least=0
    )
    task: TaskSettings = TaskSettings()
    algorithm: AlgorithmSettings = PPOSettings()
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
