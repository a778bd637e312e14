"""What the settings of several algorithms have in common: rollouts, critics, clipped losses, replays."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from .declaring import Settings, setting


def algorithm_name(default: str) -> str:
    """Declare the setting that tells one algorithm's settings from another's."""
    return setting(default, "The learning algorithm; it decides the defaults.", flags=("--algorithm", "--algo"))


@dataclass(frozen=True)
class AlgorithmSettings(Settings):
    """What the settings of every algorithm have in common.

    To add an algorithm: subclass this, or the nearest of its subclasses, and name the subclass in
    `textgym.training.algorithms.ALGORITHMS`.
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

    @property
    def writing_top_p(self) -> float | None:
        """Probability of the tokens that a trained model chooses among, as in training; None for all."""
        return None

    def constructor_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the algorithm's class, but for `policy`, `env`, `seed` and `device`."""
        raise NotImplementedError


@dataclass(frozen=True)
class RolloutSettings(AlgorithmSettings):
    """What every on-policy algorithm takes; explained in `textgym.agents.on_policy.SequenceOptions`."""

    learning_rate: float = setting(3e-4, "Step size of Adam.", above=0)
    learning_rate_end: float = setting(
        1.0,
        "Share of the learning rate that is left after the last token; it falls linearly, from rollout to rollout.",
        least=0,
        most=1,
    )
    tokens_per_rollout: int = setting(4096, "Tokens generated between two updates, nearly.", least=2)
    kl_coef: float = setting(0.01, "Reward lost for each nat of KL to the model that training began with.", least=0)
    kl_coef_end: float = setting(
        1.0, "Multiple of kl-coef that it reaches after the last token, linearly, from rollout to rollout; with a "
        "kl-target it does not count.", least=0,
    )  # fmt: skip
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
        not_the_class_s = {"name", "tokens_per_rollout", "temperature", "learning_rate_end", "kl_coef_end"}
        not_the_class_s |= {"reference"} if self.reference is None else set()
        names = {declared.name for declared in fields(self)} - not_the_class_s
        arguments = {name: getattr(self, name) for name in sorted(names)}
        if self.learning_rate_end != 1:
            arguments["learning_rate"] = _linear(self.learning_rate, self.learning_rate_end)
        if self.kl_coef_end != 1 and self.kl_target is None:
            arguments["kl_coef"] = _linear(self.kl_coef, self.kl_coef_end)
        # One row, so that a step of Stable-Baselines3 is one token.
        return {**arguments, "n_steps": self.tokens_per_rollout, "policy_kwargs": {"temperature": self.temperature}}


def _linear(start: float, end: float) -> Any:
    """Return the schedule of a number that reaches `end` times itself after the last token."""
    from stable_baselines3.common.utils import LinearSchedule

    return LinearSchedule(start, end * start, end_fraction=1.0)


@dataclass(frozen=True)
class OnPolicySettings(RolloutSettings):
    """What algorithms whose loss is one sum take besides."""

    ent_coef: float = setting(0.0, "Reward for entropy.", least=0)
    max_grad_norm: float = setting(0.5, "Bound on the gradient's norm.", above=0)


@dataclass(frozen=True)
class OneStepSettings(OnPolicySettings):
    """What algorithms take that make one step of each rollout: smaller rollouts, for more steps."""

    learning_rate: float = setting(2e-4, "Step size of Adam.", above=0)
    tokens_per_rollout: int = setting(1024, "Tokens generated between two updates, nearly.", least=2)


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
        None, "End an update early at 1.5 times this KL from the policy before it. [default: never]", above=0
    )


@dataclass(frozen=True)
class ValueSettings(AlgorithmSettings):
    """What every value-based algorithm takes; explained in `textgym.agents.off_policy.ValueOptions`."""

    learning_rate: float = setting(1e-4, "Step size of Adam.", above=0)
    tokens_per_rollout: int = setting(1024, "Tokens generated between two updates, nearly.", least=2)
    batch_size: int = setting(512, "Tokens in a minibatch, nearly.", least=2)
    gradient_steps: int = setting(8, "Minibatches learned from after each rollout.", least=1)
    buffer_size: int = setting(200_000, "Tokens kept to be learned from again.", least=1)
    learning_starts: int = setting(2048, "Tokens explored before the first update.", least=0)
    target_update_interval: int = setting(2048, "Tokens between two updates of the target network.", least=1)
    n_steps: int = setting(64, "Rewards summed before the target network's value counts.", least=1)
    exploration: Literal["reference", "uniform"] = setting(
        "uniform", "Explore by the model that training began with, or uniformly."
    )
    exploration_fraction: float = setting(0.5, "Share of training in which exploration falls.", above=0, most=1)
    exploration_initial_eps: float = setting(1.0, "Share of explored tokens at first.", least=0, most=1)
    exploration_final_eps: float = setting(0.02, "Share of explored tokens in the end.", least=0, most=1)
    candidates: int | None = setting(
        20, "Consider only so many tokens, the most probable ones before training; null in YAML for all.", least=1
    )
    advantage_scale: float = setting(0.05, "Reward for which a token becomes e times as likely.", above=0)
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
