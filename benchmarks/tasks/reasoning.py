"""Any of reasoning-gym's generators as a task: questions as prompts, and its own scoring as the reward."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium

from textgym.env import TextGenEnv
from textgym.models import load_tokenizer
from textgym.rewards.reasoning import make_questions
from textgym.task_arguments import TaskArguments
from textgym.vector import TextGenVectorEnv

from .splits import Split, check_split

N_HELD_OUT = 100


def reasoning_prompts(
    generator: str,
    split: Split,
    size: int = 1000,
    seed: int = 0,
    template: str = "{question}\n",
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return questions as prompts, each with its entry, by which an answer is scored.

    Args:
        generator: The generator's name, such as "chain_sum".
        split: "held_out" are 100 others than those of "train"; a question that is among them is not trained on.
        size: Questions to train on, but for such.
        seed: Decides the questions.
        template: How the question stands in the prompt.
        options: What the generator is configured with; None for its defaults.

    Raises:
        ValueError: If there is no such generator, split or option.
        MissingPackageError: If reasoning-gym is not installed.
    """
    check_split(split)
    questions = make_questions(generator, N_HELD_OUT + size, seed, options)
    held_out = [questions[index] for index in range(N_HELD_OUT)]
    chosen = held_out
    if split == "train":
        known = {entry["question"] for entry in held_out}
        others = (questions[index] for index in range(N_HELD_OUT, N_HELD_OUT + size))
        chosen = [entry for entry in others if entry["question"] not in known]
    return [{"prompt": template.format(question=entry["question"]), "entry": entry} for entry in chosen]


def reasoning_gym_task(
    generator: str,
    task_id: str | None = None,
    *,
    size: int = 1000,
    seed: int = 0,
    template: str = "{question}\n",
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> str:
    """Register one of reasoning-gym's generators as an environment, and return its id.

    A module that calls this makes its tasks known to the command line: `textgym train --task my_tasks:ID`.

        import gymnasium
        from textgym.benchmarks.tasks.reasoning import reasoning_gym_task

        env = gymnasium.make(reasoning_gym_task("chain_sum", options={"max_terms": 2, "max_digits": 1}))

    Args:
        generator: The generator's name, such as "chain_sum".
        task_id: Id of the environment; None for "reasoning_gym/GENERATOR-v0".
        size: Questions to train on; a hundred others are held out.
        seed: Decides the questions.
        template: How the question stands in the prompt.
        options: What the generator is configured with; None for its defaults.
        **arguments: Others of `textgym.task.TextTask`. Unless given, the budgets fit the longest question, and the
            longest answer with half as many tokens again.

    Raises:
        ValueError: If there is no such generator or option, or the id stands for another task.
        MissingPackageError: If reasoning-gym is not installed.
    """
    task_id = task_id or f"reasoning_gym/{generator}-v0"
    asked: dict[str, Any] = {"generator": generator, "size": size, "seed": seed, "template": template}
    asked["options"] = dict(options or {})
    rows = reasoning_prompts(split="train", **asked) + reasoning_prompts(split="held_out", **asked)
    tokenizer = load_tokenizer(arguments.get("tokenizer"))
    longest = {
        name: max(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
        for name, texts in {
            "prompt": [row["prompt"] for row in rows],
            "answer": [str(row["entry"]["answer"]) for row in rows],
        }.items()
    }
    kwargs = {
        "prompts": {f"{__name__}:reasoning_prompts": {**asked, "split": "train"}},
        "reward": {"reasoning_answer": {"generator": generator, "options": asked["options"]}},
        "max_prompt_tokens": longest["prompt"],
        "max_new_tokens": longest["answer"] * 3 // 2 + 1,
        **arguments,
    }
    known = gymnasium.registry.get(task_id)
    if known is None:
        entry_point = f"{__name__}:Reasoning"
        gymnasium.register(
            task_id, entry_point=f"{entry_point}Env", vector_entry_point=f"{entry_point}VectorEnv", kwargs=kwargs
        )
    elif known.kwargs != kwargs:
        raise ValueError(f"The id {task_id!r} stands for another task; give this one an id of its own, by task_id=.")
    return task_id


class ReasoningEnv(TextGenEnv):
    """Answer the questions of one of reasoning-gym's generators.

    ## Description
    `reasoning_gym_task` registers such an environment for a generator. Its questions are the prompts, 100 of them held
    out. With the bundled GPT-2, which has never seen a question answered, few generators give it anything to learn
    from; name a larger model by `tokenizer`.

    ## Action Space
    `Discrete(V)`: a token of the model.

    ## Observation Space
    That of `TextGen-v0`.

    ## Reward
    `ReasoningAnswer(generator, options)`: what the generator gives for the answer, 0 to 1. The question, its answer
    and what else there is to know of it reach the reward as the column `entry`. Needs the extra `reasoning`.

    ## Episode End
    At the end of the sequence, or after half as many tokens again as the longest answer has.

    ## Info
    That of `TextGen-v0`.

    ## Arguments
    Those of `TextGen-v0`, with other defaults.

    ## Training
    `textgym train --task` generates 160,000 tokens, unless told otherwise. There is no score from which it counts as
    solved, since that depends on the generator.

    ## Version History
    v0: first version.
    """

    training: ClassVar[dict[str, Any]] = {"algorithm": {"potential_shaping": False}}

    @classmethod
    def training_settings(cls, arguments: TaskArguments) -> dict[str, Any]:
        """Return settings to begin with: evaluation is on the questions that are held out."""
        prompts = arguments.get("prompts")
        if not isinstance(prompts, Mapping):
            return dict(cls.training)
        held_out = {name: {**asked, "split": "held_out"} for name, asked in prompts.items()}
        return {**cls.training, "evaluation": {"eval_prompts": held_out}}


class ReasoningVectorEnv(TextGenVectorEnv):
    """Many episodes of `ReasoningEnv` at a time."""
