"""Run a training from its settings: prepare, evaluate, learn, evaluate again, and write all of it down."""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from stable_baselines3.common.callbacks import CallbackList

from textgym.agents import Evaluation, Sampling, TextGenVecEnv, evaluate
from textgym.agents.language_policy import LanguagePolicy
from textgym.agents.reference import ChangedReferenceError, Reference
from textgym.agents.sequence_algorithm import SequenceAlgorithm
from textgym.devices import find_device
from textgym.replacing import replacing_file
from textgym.reward_protocol import Reward, resolve_reward
from textgym.rewards.places import absolute_places
from textgym.task import TextTask

from .algorithm_settings import RolloutSettings
from .callbacks import CheckpointCallback, SampleCallback
from .checkpoint import load_checkpoint, save_checkpoint
from .curves import draw_curves
from .initial_weights import with_initial_share
from .judgement import to_figures
from .logs import make_logger, read_progress
from .model_folder import find_model, save_language_model
from .progress_bar import ProgressCallback
from .report import describe_reward, final_line, print_completions, print_figures
from .run_folder import RunFolder, read_json, write_json
from .samples import prompt_rows, spread_out, to_samples
from .settings import TrainSettings
from .stopping import StopRequest, TrainingStopped
from .token_view import view_tokens
from .versions import describe_session

# Arguments of algorithms that decide how far a step of the optimiser goes, and that may be changed on the way.
SETTINGS_OF_STEPS = ("learning_rate", "max_grad_norm")
GREEDY = Sampling(deterministic=True)


@dataclass(frozen=True)
class Run:
    """A run that is ready to begin or to go on.

    Attributes:
        settings: Its settings.
        folder: Its folder.
        model: The algorithm.
        task: What is trained on.
        eval_task: What is evaluated on: the same with other prompts, each equally often.
        sample_task: A few of these prompts.
        judge: What is evaluated on, with the reward that only judges; None without one.
        is_resumed: Whether the algorithm was loaded from a checkpoint.
    """

    settings: TrainSettings
    folder: RunFolder
    model: SequenceAlgorithm
    task: TextTask
    eval_task: TextTask
    sample_task: TextTask
    judge: TextTask | None
    is_resumed: bool

    @property
    def policy(self) -> LanguagePolicy:
        """The network that is trained and chooses tokens."""
        return self.model.network

    @property
    def reference(self) -> Reference | None:
        """What KL is measured against; None where the algorithm has no reference."""
        return self.model.find_reference()


def prepare(settings: TrainSettings, folder: RunFolder) -> Run:
    """Load and check everything that a run needs, and write nothing yet.

    Args:
        settings: The settings; of a run that is resumed, its own.
        folder: Where the run will be. A checkpoint there is gone on with.

    Raises:
        ValueError: If a setting does not fit, or a name cannot be found.
        TypeError: If a prompt or reward is of the wrong type.
        OSError: If a file cannot be read.
    """
    settings = _with_absolute_paths(settings)
    source, options = settings.model, settings.task
    # One for all tasks: it may hold a model.
    reward = resolve_reward(options.reward)
    task = _make_task(settings, reward, options.prompts, options.prompt_order, settings.completions_per_prompt)
    eval_task = _make_task(settings, reward, settings.eval_prompts, "sequential")
    n_visited = min(settings.evaluation.eval_completions, len(eval_task.prompts))
    rows = prompt_rows(eval_task, spread_out(n_visited, settings.evaluation.table_rows))
    sample_task = _make_task(settings, reward, rows, "sequential")
    judge = None
    if settings.evaluation.judge is not None:
        judge = _make_task(settings, resolve_reward(settings.evaluation.judge), settings.eval_prompts, "sequential")
    is_resumed = folder.checkpoint.is_file()
    if not is_resumed and "after" in folder.read_evaluation():
        raise ValueError(
            f"The run in {folder.path} is complete, but its {folder.checkpoint.name} is gone; put it back to train "
            "further, or begin a run in another folder."
        )
    model = _load_algorithm(settings, folder, task) if is_resumed else _make_algorithm(settings, source, task)
    _find_reference(model, folder)
    return Run(settings, folder, model, task, eval_task, sample_task, judge, is_resumed)


def execute(run: Run, console: Console) -> None:
    """Carry a run out to its end.

    Raises:
        TrainingStopped: If a signal asked to stop; all is saved then.
        RewardError: If the reward fails; the last checkpoint stays.
        NonFiniteError: If the loss, a gradient or a weight becomes NaN; likewise.
    """
    _open_folder(run)
    _introduce(run, console)
    if "before" not in run.folder.read_evaluation():
        _evaluate(run, "before", console)
    try:
        speed = _learn(run, console)
    except TrainingStopped:
        _save_language_model(run)
        _draw(run)
        raise
    with with_initial_share(run.policy, run.settings.model, run.settings.initial_share):
        _save_language_model(run)
        _evaluate(run, "after", console, speed)
        seed, n = run.settings.evaluation.eval_seed, len(run.sample_task.prompts)
        run.folder.write_tokens(view_tokens(run.model, run.sample_task, n, seed))
    _draw(run)
    _report(run, console)


def algorithm_class(settings: TrainSettings) -> type[SequenceAlgorithm]:
    """Import the class of a run's algorithm."""
    module, _, name = settings.algorithm.class_path.partition(":")
    found: type[SequenceAlgorithm] = getattr(import_module(module), name)
    return found


def _make_task(
    settings: TrainSettings, reward: Reward, prompts: Any, order: Any, completions_per_prompt: int = 1
) -> TextTask:
    options = settings.task
    return TextTask(
        settings.model,
        prompts,
        reward,
        max_prompt_tokens=options.max_prompt_tokens,
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        stop=options.stop,
        banned_token_ids=options.banned_token_ids,
        allowed_token_ids=options.allowed_token_ids,
        completions_per_prompt=completions_per_prompt,
        prompt_order=order,
        truncate_prompts=options.truncate_prompts,
    )


def _make_algorithm(settings: TrainSettings, source: str, task: TextTask) -> SequenceAlgorithm:
    arguments = settings.algorithm.constructor_arguments()
    arguments["policy_kwargs"] = {
        **arguments.get("policy_kwargs", {}),
        **settings.policy.policy_arguments(),
        "model": source,
    }
    env = TextGenVecEnv(1, task)
    device = find_device(settings.device)
    return algorithm_class(settings)("GPT2Policy", env, seed=settings.seed, device=device, **arguments)


def _load_algorithm(settings: TrainSettings, folder: RunFolder, task: TextTask) -> SequenceAlgorithm:
    arguments = settings.algorithm.constructor_arguments()
    steps = {name: arguments[name] for name in SETTINGS_OF_STEPS if name in arguments}
    device = find_device(settings.device)
    model = load_checkpoint(algorithm_class(settings), folder, TextGenVecEnv(1, task), device, **steps)
    wanted = folder.read_settings({}).total_tokens
    if settings.total_tokens < wanted and settings.total_tokens <= model.num_timesteps < wanted:
        raise ValueError(
            f"The run in {folder.path} has {model.num_timesteps:,} of {wanted:,} tokens already; give --total-tokens "
            "above that, or none, to go on as it was begun."
        )
    if model.num_timesteps >= settings.total_tokens and _is_complete(folder):
        raise ValueError(
            f"The run in {folder.path} is complete, with {model.num_timesteps:,} tokens; to train it further, give "
            f"--total-tokens above that."
        )
    return model


def _find_reference(model: SequenceAlgorithm, folder: RunFolder) -> None:
    """Raise ValueError if the model that KL is measured against is not there, or not what it was, any more."""
    try:
        model.find_reference()
    except ChangedReferenceError as error:
        raise ValueError(
            f"{str(error).partition(';')[0]}, since what is there was written anew. Put it back to go on with the run, "
            f"or begin another one with --model {folder.path}."
        ) from error


def _is_complete(folder: RunFolder) -> bool:
    """Tell whether a run has all that is written at its end; it may have been stopped within."""
    has_curves = folder.curves.is_file() or not read_progress(folder.progress)
    return "after" in folder.read_evaluation() and folder.tokens.is_file() and has_curves


def _with_absolute_paths(settings: TrainSettings) -> TrainSettings:
    """Name files so that the run can be repeated and resumed from any folder."""
    options = settings.evaluation
    task = replace(
        settings.task, prompts=_absolute(settings.task.prompts), reward=absolute_places(settings.task.reward)
    )
    evaluation = replace(options, eval_prompts=_absolute(options.eval_prompts), judge=absolute_places(options.judge))
    algorithm = settings.algorithm
    if isinstance(algorithm, RolloutSettings) and algorithm.reference is not None:
        algorithm = replace(algorithm, reference=find_model(algorithm.reference))
    return replace(settings, model=find_model(settings.model), task=task, algorithm=algorithm, evaluation=evaluation)


def _absolute(source: Any) -> Any:
    return str(Path(source).resolve()) if isinstance(source, str) and Path(source).is_file() else source


def _open_folder(run: Run) -> None:
    """Write what the run is, and drop what was written after the checkpoint: it is made again now."""
    folder, n_tokens = run.folder, run.model.num_timesteps
    folder.write_settings(run.settings)
    sessions = read_json(folder.versions) if folder.versions.is_file() else []
    write_json(folder.versions, [*sessions, describe_session(run.model.device, n_tokens)])
    evaluation = folder.read_evaluation()
    if evaluation.pop("after", None) is not None:
        write_json(folder.evaluation, evaluation)
    phases = {"training", *evaluation}
    samples = folder.read_samples()
    folder.write_samples([one for one in samples if one["phase"] in phases and one["tokens"] <= n_tokens])
    run.model.set_logger(make_logger(folder, n_tokens))


def _introduce(run: Run, console: Console) -> None:
    n_parameters = sum(parameter.numel() for parameter in run.policy.language_model.parameters())
    lines = {
        "model": f"{run.settings.model}, {n_parameters / 1e6:,.1f} million parameters, on {run.model.device}",
        "reward": describe_reward(run.task.reward),
        "prompts": f"{len(run.task.prompts)} to train on, {len(run.eval_task.prompts)} to evaluate on",
        "folder": str(run.folder.path),
    }
    if run.is_resumed:
        lines["resumed"] = f"at {run.model.num_timesteps:,} of {run.settings.total_tokens:,} tokens"
    for name, text in lines.items():
        console.print(Text.assemble((f"{name:<8} ", "dim"), text), soft_wrap=True)


def _evaluate(run: Run, phase: str, console: Console, speed: float | None = None) -> None:
    options = run.settings.evaluation
    with console.status(f"evaluating {options.eval_completions} completions"):
        evaluation = evaluate(
            run.policy,
            run.eval_task,
            options.eval_completions,
            seed=options.eval_seed,
            reference=run.reference,
        )
        # A second greedy completion of a prompt would be the first one again.
        n_greedy = min(options.eval_completions, len(run.eval_task.prompts))
        greedy = evaluate(
            run.policy,
            run.eval_task,
            n_greedy,
            seed=options.eval_seed,
            sampling=GREEDY,
            reference=run.reference,
        )
        judge = None if run.judge is None else _judged(run.judge, evaluation)
    n_tokens = run.model.num_timesteps
    run.folder.add_samples(to_samples(evaluation, n_tokens, phase))
    figures = {"tokens": n_tokens, **to_figures(evaluation, greedy, judge)}
    written = run.folder.read_evaluation()
    about = {
        "n_completions": options.eval_completions,
        "held_out": run.settings.eval_prompts != run.settings.task.prompts,
        "tokens_per_second": speed if speed is not None else written.get("tokens_per_second"),
    }
    write_json(run.folder.evaluation, {**written, **about, phase: figures})


def _judged(judge: TextTask, evaluation: Evaluation) -> float:
    """Return the mean score that a judge gives."""
    judgements = judge.score([item.episode.text for item in evaluation.episodes])
    return sum(judgement.score for judgement in judgements) / len(judgements)


def _learn(run: Run, console: Console) -> float | None:
    """Train until all tokens are used up, save, and return tokens a second.

    Raises:
        TrainingStopped: If a signal asked to stop; all is saved then.
    """
    settings, model, folder = run.settings, run.model, run.folder
    options = settings.evaluation
    with StopRequest() as stop:
        progress = ProgressCallback(console, settings.total_tokens, stop)
        callbacks = CallbackList(
            [
                progress,
                SampleCallback(folder, run.sample_task, options.sample_every, options.eval_seed),
                CheckpointCallback(folder, settings.checkpoint_seconds, stop),
            ]
        )
        remaining = settings.total_tokens - model.num_timesteps
        try:
            if remaining > 0:
                model.learn(remaining, callback=callbacks, reset_num_timesteps=not run.is_resumed)
                save_checkpoint(model, folder)
            if stop.received is not None:
                raise TrainingStopped(stop.received)
        finally:
            progress.stop()
            model.logger.close()
    return progress.tokens_per_second


def _save_language_model(run: Run) -> None:
    algorithm = run.settings.algorithm
    how = algorithm.writing_temperature, algorithm.writing_top_p
    save_language_model(run.policy, run.task, run.folder.language_model, *how)


def _draw(run: Run) -> None:
    if not read_progress(run.folder.progress):
        return
    evaluation = run.folder.read_evaluation()
    scores = [f"{evaluation[phase]['score']:.2f}" for phase in ("before", "after") if phase in evaluation]
    title = f"{run.settings.algorithm.name}: score {' → '.join(scores)} in {run.model.num_timesteps:,} tokens"
    with replacing_file(run.folder.curves) as picture:
        draw_curves(run.folder.progress, evaluation, picture, title)


def _report(run: Run, console: Console) -> None:
    evaluation = run.folder.read_evaluation()
    samples = run.folder.read_samples()
    before, after = ([one for one in samples if one["phase"] == phase] for phase in ("before", "after"))
    n_visited = min(len(after), len(run.eval_task.prompts))
    rows = spread_out(n_visited, run.settings.evaluation.table_rows)
    print_completions(console, [(before[row], after[row]) for row in rows])
    print_figures(console, evaluation["before"], evaluation["after"])
    console.print(f"Written to {run.folder.path}", soft_wrap=True, highlight=False)
    console.print(final_line(evaluation["before"], evaluation["after"], evaluation), soft_wrap=True, highlight=False)
