"""What `textgym reward-model kinds` prints: the kinds of reward models, and what each can be given."""

import inspect
import json
import textwrap


def list_kinds() -> None:
    """Print each kind with its first sentence and its arguments' defaults."""
    from textgym.rewards.catalogue import first_sentence
    from textgym.rewards.learned.kinds import KINDS, MEMBER_KINDS

    for name in MEMBER_KINDS:
        print(f"{name}: {first_sentence(inspect.getdoc(KINDS[name]) or '')}")
        print(textwrap.indent(textwrap.fill(", ".join(_arguments(name)), 100), "    "))
    print("textgym reward-model kinds NAME explains the arguments. Several models of one kind are an ensemble.")


def explain_kind(kind: str) -> None:
    """Print a kind's documentation, with that of its arguments.

    Raises:
        ValueError: If there is no such kind.
    """
    from textgym.rewards.learned.kinds import find_kind

    found = find_kind(kind)
    documentation = inspect.getdoc(found) or ""
    print(documentation)
    if "Args:" not in documentation:  # the arguments are those of the class that it specialises
        print(f"\n{inspect.getdoc(found.__base__)}")


def _arguments(kind: str) -> list[str]:
    from textgym.rewards.learned.kinds import find_kind

    parameters = inspect.signature(find_kind(kind)).parameters.values()
    return [f"{one.name}={json.dumps(one.default)}" for one in parameters]  # JSON is YAML, as --set takes it
