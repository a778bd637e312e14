"""From the settings of annotators to the annotators themselves."""

from textgym.models import load_tokenizer
from textgym.prompts import load_prompts
from textgym.reward_protocol import resolve_reward
from textgym.training.model_folder import find_model

from .annotator_settings import (
    AnnotatorSettings,
    CommandAnnotators,
    PeopleAnnotators,
    RewardAnnotators,
    SimulatedAnnotators,
)
from .annotators import Annotators
from .coded_raters import CodedRaters
from .command_raters import CommandRaters
from .folder import LoopFolder
from .settings import LoopSettings
from .simulated_people import load_people


def make_annotators(chosen: AnnotatorSettings, settings: LoopSettings, folder: LoopFolder, command: str) -> Annotators:
    """Make the annotators of a loop.

    Args:
        chosen: Who rates.
        settings: The loop's settings.
        folder: Its folder, which holds simulated people once they are fitted, and the store of real ones.
        command: What goes on with the loop, for people to be told.

    Raises:
        ValueError: If a reward, prompts or a tokenizer cannot be found.
        TypeError: If the settings are of an unknown kind.
    """
    if isinstance(chosen, SimulatedAnnotators):
        return load_people(folder.people, chosen.per_item)
    if isinstance(chosen, CommandAnnotators):
        return CommandRaters(chosen.command)
    if isinstance(chosen, PeopleAnnotators):
        from .people import PeopleRaters

        return PeopleRaters(chosen, folder.store_of(chosen), command, lambda: folder.policy(settings))
    if isinstance(chosen, RewardAnnotators):
        held_out = settings.train_settings(model=settings.model, seed=0).eval_prompts
        columns = dict([*load_prompts(settings.prompts), *load_prompts(held_out)])
        tokenizer = load_tokenizer(find_model(settings.model))
        reward = resolve_reward(chosen.reward)
        return CodedRaters(reward, chosen.per_item, chosen.noise, columns=columns, tokenizer=tokenizer)
    raise TypeError(f"expected settings of annotators, got {type(chosen).__name__}.")
