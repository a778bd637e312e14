"""Reward models made of a language model: an encoder or a GPT-2, fine-tuned for ratings, classes or preferences."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from textgym.devices import find_device
from textgym.rewards.arguments import check_choice, check_flag, check_integer, check_number, describe
from textgym.rewards.longest_text import longest_text

from .backbone import check_belong_together, load_backbone, load_backbone_tokenizer
from .calibration import Predictions
from .classes import ClassWeight, RatingClasses, check_class_weight
from .encoding import encode_texts, pad, sorted_batches
from .feedback import Feedback
from .model import RewardModel, Scores
from .network import Pooling, RewardNetwork
from .network_training import TrainingOptions, train_network
from .objectives import ClassObjective, Objective, PreferenceObjective, RatingObjective
from .splitting import split_feedback

HELD_OUT_SHARE = 0.1
OBJECTIVES = ("ratings", "classes", "preferences")
OBJECTIVE_ARGUMENTS = {
    "classes": ("boundaries", "class_weight"),
    "preferences": ("margin", "min_gap", "pairs_per_rating"),
}
WHOLE_NUMBERS = {"max_tokens": 8, "epochs": 1, "batch_size": 1, "patience": 1, "pairs_per_rating": 1, "seed": 0}


class NetworkRewardModel(RewardModel):
    """A transformer with a scalar or class head, fine-tuned on feedback.

    With the objective "ratings" it predicts the rating (squared error); with "classes" it tells bad, fair and good
    apart, and the score is the expected class; with "preferences" it learns Bradley and Terry's model of pairs, which
    are given or made from ratings.

    An annotator's comment is a second input in training; it is dropped by chance, since there is none when the model
    judges new text.

    Args:
        backbone: Folder or hub name of any encoder or causal language model, or "bundled" for the bundled GPT-2.
        objective: What it is trained for.
        trainable_layers: Topmost layers that learn besides the head, embeddings do not then; None for everything.
        pooling: "mean" over tokens or the "last" token; None chooses by the kind of the backbone.
        max_tokens: Longest text, at most what the backbone has positions for; what is too long loses its beginning.
        epochs: Most passes over the feedback.
        learning_rate: Highest step size of AdamW.
        batch_size: Ratings or pairs of a step.
        patience: Stop after so many epochs without a lower held-out loss.
        weight_decay: Of AdamW.
        comment_dropout: How often a comment is left out, 0 to 1.
        boundaries: For classes: where fair and good begin; None splits the ratings into thirds.
        class_weight: For classes: "balanced" gives each class the same total weight.
        margin: For preferences: times a pair's own margin (its difference in ratings, or the row's `margin`): how far
            apart scores are to be.
        min_gap: For preferences: ratings of one prompt's completions that differ by more than this make pairs.
        pairs_per_rating: For preferences: pairs drawn for each rating.
        seed: Decides the head's first weights, the order of the feedback, dropout and pairs.
        device: A device of PyTorch; "auto" takes a GPU where there is one.
        allow_pickle: Load a backbone's weights also where they only come as a pickle, which can run any code.
        name: Name of the reward's term.

    Raises:
        ValueError: If an argument is out of range, a wrong name (the nearest match is given), or another objective's.
        TypeError: If an argument has another type.

    References:
        Ziegler et al. (2019), arXiv:1909.08593, for the scalar head; Touvron et al. (2023), arXiv:2307.09288, eq. 2,
        for the margin.
    """

    kind = "network"

    def __init__(
        self,
        backbone: str = "bundled",
        *,
        objective: Literal["ratings", "classes", "preferences"] = "ratings",
        trainable_layers: int | None = None,
        pooling: Pooling | None = None,
        max_tokens: int = 128,
        epochs: int = 4,
        learning_rate: float = 1e-4,
        batch_size: int = 32,
        patience: int = 1,
        weight_decay: float = 0.01,
        comment_dropout: float = 0.5,
        boundaries: Sequence[float] | None = None,
        class_weight: ClassWeight | None = None,
        margin: float = 0.0,
        min_gap: float = 1.0,
        pairs_per_rating: int = 2,
        seed: int = 0,
        device: str = "auto",
        allow_pickle: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.backbone = str(backbone)
        self.objective = objective
        self.trainable_layers = trainable_layers
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.patience = patience
        self.weight_decay = weight_decay
        self.comment_dropout = comment_dropout
        self.boundaries = None if boundaries is None else RatingClasses(boundaries).boundaries
        self.class_weight = class_weight
        self.margin = margin
        self.min_gap = min_gap
        self.pairs_per_rating = pairs_per_rating
        self.seed = seed
        self.device = device
        self.allow_pickle = allow_pickle
        self._check_arguments(backbone)
        self._objective = self._make_objective()
        self._network: RewardNetwork | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def _check_arguments(self, backbone: object) -> None:
        if not isinstance(backbone, str | Path) or not str(backbone):
            raise TypeError(f"backbone must be a folder, a hub name or 'bundled', got {describe(backbone)}.")
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("pooling", self.pooling, (*get_args(Pooling), None))
        check_class_weight(self.class_weight)
        if self.trainable_layers is not None:
            check_integer("trainable_layers", self.trainable_layers, least=0)
        for name, least in WHOLE_NUMBERS.items():
            check_integer(name, getattr(self, name), least=least)
        check_number("learning_rate", self.learning_rate, above=0)
        for name in ("weight_decay", "margin", "min_gap"):
            check_number(name, getattr(self, name), least=0)
        check_number("comment_dropout", self.comment_dropout, least=0, most=1)
        check_flag("allow_pickle", self.allow_pickle)
        find_device(self.device)
        parameters = inspect.signature(NetworkRewardModel).parameters
        for objective, names in OBJECTIVE_ARGUMENTS.items():
            for name in names if objective != self.objective else ():
                if getattr(self, name) != parameters[name].default:
                    raise ValueError(
                        f"{name} belongs to the objective {objective!r}, got it with the objective {self.objective!r}."
                    )

    def _make_objective(self) -> Objective:
        if self.objective == "ratings":
            return RatingObjective()
        if self.objective == "classes":
            return ClassObjective(self.boundaries, self.class_weight)
        return PreferenceObjective(self.margin, self.min_gap, self.pairs_per_rating, self.seed)

    def _fit(self, feedback: Feedback, held_out: Feedback | None, console: Console | None) -> None:
        if held_out is None:
            feedback, held_out = split_feedback(feedback, HELD_OUT_SHARE, self.seed)
        self._objective.prepare(feedback)
        training = self._objective.examples(feedback)
        try:
            stopping = self._objective.examples(held_out)
        except ValueError as error:
            raise ValueError(
                f"The {len(held_out)} ratings and pairs held out to stop training by are too few or too much alike. "
                f"{error}"
            ) from error
        self._tokenizer = load_backbone_tokenizer(self.backbone)
        backbone = load_backbone(self.backbone, allow_pickle=self.allow_pickle)
        check_belong_together(self._tokenizer, backbone)
        self._use(backbone_network(backbone, self._objective.n_outputs, self.pooling, self.seed))
        network = self._require_network()
        network.train_layers(self.trainable_layers)
        options = self._options(longest_text(self._tokenizer, backbone, self.max_tokens))
        losses = train_network(network, self._objective, self._tokenizer, training, stopping, options, console)
        self.record["losses"] = [one._asdict() for one in losses]

    def _options(self, max_tokens: int) -> TrainingOptions:
        return TrainingOptions(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            weight_decay=self.weight_decay,
            comment_dropout=self.comment_dropout,
            max_tokens=max_tokens,
            seed=self.seed,
        )

    def raw_scores(
        self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None = None
    ) -> Scores:
        """Return predicted ratings, expected classes or Bradley and Terry's scores, shape (N,)."""
        outputs = self._outputs(prompts, completions, comments)
        scores: Scores = self._objective.scores(outputs).double().numpy()
        return scores

    @property
    def learns_from_preferences(self) -> bool:
        """Whether that is the objective."""
        return self.objective == "preferences"

    @property
    def reads_comments(self) -> bool:
        """Whether ratings, which may have comments, are what it learns from."""
        return self.objective != "preferences" and self.comment_dropout < 1

    def predictions(self, feedback: Feedback) -> Predictions | None:
        """Return predictions beside ratings, classes or preferences; None where the feedback has no such thing."""
        try:
            texts = self._objective.examples(feedback).texts
        except ValueError:  # nothing in the feedback that this objective is about
            return None
        prompts, completions, _ = (list(column) for column in zip(*texts, strict=True))
        return self._objective.predictions(self._outputs(prompts, completions, None), feedback)

    def judged(self, feedback: Feedback) -> Feedback:
        """Return the pairs as feedback where the objective is preferences, else the feedback."""
        objective = self._objective
        return objective.as_given(feedback) if isinstance(objective, PreferenceObjective) else feedback

    @torch.inference_mode()
    def _outputs(self, prompts: Sequence[str], completions: Sequence[str], comments: Sequence[str] | None) -> Tensor:
        """Return the network's numbers for N texts, (N, n_outputs), in float32 on the CPU; batches sorted by length."""
        network, tokenizer = self._require_network(), self._tokenizer
        if tokenizer is None:
            raise ValueError("This network has no tokenizer.")
        notes = [""] * len(prompts) if comments is None else comments
        max_tokens = longest_text(tokenizer, network.backbone, self.max_tokens)
        sequences = encode_texts(tokenizer, prompts, completions, notes, max_tokens)
        outputs = torch.empty((len(sequences), network.head.out_features))
        device = network.head.weight.device
        for batch in sorted_batches([len(one) for one in sequences], 2 * self.batch_size):
            tokens = pad([sequences[index] for index in batch], tokenizer.pad_token_id or 0, device)
            outputs[batch] = network(tokens).float().cpu()
        return outputs

    def _require_network(self) -> RewardNetwork:
        if self._network is None:
            raise ValueError(f"This {type(self).__name__} has not learned anything yet; call fit(feedback) first.")
        return self._network

    def _use(self, network: RewardNetwork) -> None:
        self._network = network.to(find_device(self.device)).eval()

    def _write(self, folder: Path) -> dict[str, Any]:
        network = self._require_network()
        network.backbone.save_pretrained(folder / "backbone")
        if self._tokenizer is not None:
            self._tokenizer.save_pretrained(folder / "backbone")
        head = {name: value.detach().cpu().contiguous() for name, value in network.head.state_dict().items()}
        save_file(head, folder / "head.safetensors")
        return {"pooling": network.pooling, "objective": self._objective.state()}

    def _read(self, folder: Path, state: Mapping[str, Any]) -> None:
        self._objective.restore(state["objective"])
        self._tokenizer = load_backbone_tokenizer(folder / "backbone")
        network = RewardNetwork(load_backbone(folder / "backbone"), self._objective.n_outputs, state["pooling"])
        network.head.load_state_dict(load_file(folder / "head.safetensors"))
        self._use(network)


def backbone_network(backbone: Any, n_outputs: int, pooling: Pooling | None, seed: int) -> RewardNetwork:
    """Put a head on a backbone, its first weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RewardNetwork(backbone, n_outputs, pooling)
