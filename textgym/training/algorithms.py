"""The settings of each algorithm, with defaults for the reference task; the demo's hyper-parameters are PPO's."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from .algorithm_settings import (
    AdvantageSettings,
    AlgorithmSettings,
    ClippedSettings,
    CriticSettings,
    OneStepSettings,
    ValueSettings,
    algorithm_name,
)
from .declaring import setting


@dataclass(frozen=True)
class PPOSettings(ClippedSettings, CriticSettings):
    """Settings of `textgym.agents.PPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:PPO"

    learning_rate: float = setting(4e-4, "Step size of Adam.", above=0)
    learning_rate_end: float = setting(
        0.05,
        "Share of the learning rate that is left after the last token; it falls linearly, from rollout to rollout.",
        least=0,
        most=1,
    )
    kl_coef: float = setting(0.003, "Reward lost for each nat of KL to the model that training began with.", least=0)


@dataclass(frozen=True)
class A2CSettings(OneStepSettings, CriticSettings):
    """Settings of `textgym.agents.A2C`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:A2C"

    name: str = algorithm_name("A2C")


@dataclass(frozen=True)
class REINFORCESettings(OneStepSettings):
    """Settings of `textgym.agents.REINFORCE`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:REINFORCE"

    name: str = algorithm_name("REINFORCE")
    learning_rate: float = setting(3e-4, "Step size of Adam.", above=0)
    baseline: Literal["none", "moving_average", "leave_one_out", "group_normalized"] = setting(
        "moving_average", "What a completion's return is compared with; the last two need completions-per-prompt."
    )


@dataclass(frozen=True)
class RLOOSettings(OneStepSettings):
    """Settings of `textgym.agents.RLOO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:RLOO"
    completions_per_prompt: ClassVar[int] = 8

    name: str = algorithm_name("RLOO")
    # Compared with others of the same prompt, a completion says less of chance, and steps may be longer.
    learning_rate: float = setting(5e-4, "Step size of Adam.", above=0)


@dataclass(frozen=True)
class GRPOSettings(ClippedSettings):
    """Settings of `textgym.agents.GRPO`, where they are explained."""

    class_path: ClassVar[str] = "textgym.agents:GRPO"
    completions_per_prompt: ClassVar[int] = 8

    name: str = algorithm_name("GRPO")
    # Groups that differ in little else than chance count as much as others: smaller rollouts, more of them.
    tokens_per_rollout: int = setting(2048, "Tokens generated between two updates, nearly.", least=2)
    learning_rate: float = setting(4e-4, "Step size of Adam.", above=0)
    kl_coef: float = setting(0.003, "Reward lost for each nat of KL to the model that training began with.", least=0)


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

    @property
    def writing_top_p(self) -> float | None:
        """That of training, here by the policy itself, since the one that cuts is not written with it."""
        return self.top_p


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
    tokens_per_rollout: int = setting(2048, "Tokens generated between two updates, nearly.", least=2)
    batch_size: int = setting(1024, "Tokens in a minibatch of the critic, nearly.", least=1)
    target_kl: float = setting(0.05, "Nats a token that one update may move the policy.", above=0)
    cg_max_steps: int = setting(10, "Steps of the conjugate gradient.", least=1)
    cg_damping: float = setting(0.01, "Added to the diagonal of the curvature.", least=0)
    n_critic_updates: int = setting(5, "The critic's passes over each rollout.", least=1)
    sub_sampling_factor: int = setting(1, "Of this many tokens the policy's update uses one.", least=1)
    curvature_share: float = setting(
        0.25, "Share of the episodes that the curvature of KL is measured on.", above=0, most=1
    )


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
