"""One run: a recipe in, a trained network and its `Record` out.

The run's folder holds `config.json`, `environment.json`, `metrics.jsonl`, `tensorboard/`,
`checkpoints/` and, at the end, `record.json`. A run that was cut off, by whatever, is taken up
from its newest good checkpoint and ends with the same bits as one that was not.
"""

import functools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from cnnlab.analysis import Summary, summarize
from cnnlab.data import Dataset, Images, Records
from cnnlab.errors import Failure
from cnnlab.training import placement, probes
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.evaluate import Score, evaluate
from cnnlab.training.folder import (
    check_same,
    check_same_backend,
    environment_of,
    finished,
    prepare,
)
from cnnlab.training.interrupt import stop_on_signals
from cnnlab.training.journal import Journal
from cnnlab.training.live import Live
from cnnlab.training.loop import Loop, NotFinite, training_metrics
from cnnlab.training.program import Program, build_model, compiled
from cnnlab.training.progress import Display
from cnnlab.training.recipe import (
    Recipe,
    RecipeError,
    check_images,
    check_recipe,
    dataset_of,
    identity,
    plan,
)
from cnnlab.training.record import Record
from cnnlab.training.scene import Scene
from cnnlab.training.state import State, digest
from cnnlab.training.step import INIT, stream


class OutOfMemory(Failure):
    """A device has too little memory for a run; the message names what takes it."""


def run(
    recipe: Recipe, folder: Path, console: Console | None = None, live: Live | None = None
) -> Record:
    """Train as `recipe` says, in `folder`, shown by `live`, and return the record.

    A finished run is not run again: its record is read. Only the final evaluation reads the test
    split.

    Raises:
        RecipeError, PatternError, DoesNotFit: the recipe is wrong; nothing was loaded.
        DataMissing: the data set is not there; says where it was looked for and what prepares it.
        UnusableFolder: the folder cannot be used or holds another run.
        BadFile: a file of the folder does not hold what it should; names it.
        ForeignRecord: the record there is of another run.
        NotFinite: the loss or a parameter is no number, and the recipe makes no record of that;
            the last good checkpoint stays.
        OutOfMemory: a device has too little for the recipe's batches.
        SaveFailed: a checkpoint could not be written.
        RestoreFailed: one could not be read, though nothing shows that it is damaged.
        Interrupted: SIGTERM or SIGINT; saved.
        OSError: the machine refused to read or write something.
    """
    dataset, network = inspect(recipe)
    check_same(folder, recipe)
    if done := finished(folder, recipe, dataset):
        return done
    check_same_backend(folder)
    with _desk(folder) as desk, _little_memory_said(recipe):
        prepare(desk, recipe, dataset, network.params)
        started = time.perf_counter()
        program = compiled(recipe, dataset)
        compile_seconds = time.perf_counter() - started
        shown = console or Console() if placement.leads() else Console(quiet=True)
        try:
            state = _train(recipe, folder, desk, shown, live, dataset, program, compile_seconds)
            outcome = _measured(recipe, dataset, program, state)
        except NotFinite as error:
            if recipe.train.on_divergence == "fail":
                raise
            outcome = _guessing(dataset, error.step)
        record = _record(recipe, dataset, network, outcome, environment_of(desk))
        record.write(desk / "record.json")
    placement.agreed(0)  # nobody goes on before the record is there
    return record


@contextmanager
def _desk(folder: Path) -> Iterator[Path]:
    """Where this process writes: `folder` if it leads, else a folder that is thrown away."""
    if placement.leads():
        yield folder
        return
    with tempfile.TemporaryDirectory() as elsewhere:
        yield Path(elsewhere)


@contextmanager
def _little_memory_said(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        batch, evaluated = recipe.train.batch_size, recipe.train.eval_batch_size
        raise OutOfMemory(
            f"{_title(recipe)}: too little memory on {jax.devices()[0].device_kind} for "
            f"train.batch_size = {batch} and train.eval_batch_size = {evaluated}; "
            "smaller ones, more devices or model.dtype = 'bfloat16' help"
        ) from error


def inspect(recipe: Recipe) -> tuple[Dataset, Summary]:
    """Check a recipe and its data set, without loading any image.

    Raises:
        RecipeError, PatternError, DoesNotFit, DataMissing: as `run`.
    """
    check_recipe(recipe)
    probes.probe(recipe.probe)
    placement.check_shares(recipe.train.batch_size)
    build_model(recipe.model, classes=1)
    dataset = dataset_of(recipe)
    check_images(recipe, dataset)
    model = build_model(recipe.model, dataset.classes)
    network = summarize(model, dataset.image_shape)
    _check_statistics(recipe, network)
    probes.check(recipe.probe, model, dataset.image_shape)
    if network.rows[-1].shape != (dataset.classes,):
        raise RecipeError(
            f"{recipe.model.name} puts out {network.rows[-1].shape} where {dataset.title} wants "
            f"({dataset.classes},), a number for each class: end it with FC"
        )
    plan(recipe, dataset.examples)
    return dataset, network


def _check_statistics(recipe: Recipe, network: Summary) -> None:
    """Refuse batch norms over one value a channel, whose output is their offset alone."""
    images = recipe.train.batch_size // recipe.model.batch_norm_groups
    for row in network.rows if images == 1 else ():
        if row.notation == "BN" and math.prod(row.shape[:-1]) == 1:
            raise RecipeError(
                f"{row.path} has one value a channel to normalise over: its output is {row.shape}, "
                f"and train.batch_size = {recipe.train.batch_size} with model.batch_norm_groups = "
                f"{recipe.model.batch_norm_groups} gives it one image at a time"
            )


def _train(
    recipe: Recipe,
    folder: Path,
    desk: Path,
    console: Console,
    live: Live | None,
    dataset: Dataset,
    program: Program,
    compile_seconds: float,
) -> State:
    key, plan = placement.key_of(recipe.seed), program.plan
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.newest(program.shapes) or program.begin(stream(key, INIT, 0))
    step = int(state.step)
    title = _title(recipe)
    if step:
        console.print(f"{title}  goes on from step {step} of {plan.steps}", highlight=False)
    journal = Journal(desk, step)
    journal.write(step, compile_seconds=compile_seconds)
    with (
        stop_on_signals() as wish,
        live.showing(Scene(recipe, dataset, program, state, journal))
        if live
        else nullcontext() as look,
        Display(console, title, step, plan.steps, recipe.train.batch_size) as display,
        program.feed.open(recipe.seed, range(step, plan.steps)) as fed,
    ):
        loop = Loop(
            program=program,
            fed=fed,
            key=key,
            checkpoints=checkpoints,
            journal=journal,
            display=display,
            validate=lambda state: _score(recipe, dataset, "validation", program, state),
            wish=wish,
            look=look,
        )
        try:
            state = loop.run(state)
        except NotFinite as error:
            last = checkpoints.latest()
            kept = f"the checkpoint at step {last}" if last else "no checkpoint"
            said = f"{title}: {error}; {kept} in {folder} is the last good one"
            raise NotFinite(said, error.step) from error
        finally:
            journal.close()
            checkpoints.close()
    return state


def _title(recipe: Recipe) -> str:
    return f"{recipe.arm} seed {recipe.seed}".strip()


@functools.lru_cache(maxsize=2)
def _held_out(dataset: Dataset, which: str) -> Images | Records:
    return dataset.split(which)


def _score(recipe: Recipe, dataset: Dataset, which: str, program: Program, state: State) -> Score:
    split, batch = _held_out(dataset, which), recipe.train.eval_batch_size
    return evaluate(program.evaluate, state.variables, split, batch)


class _Outcome(NamedTuple):
    steps: int
    metrics: dict[str, float]
    parameters: str


def _measured(recipe: Recipe, dataset: Dataset, program: Program, state: State) -> _Outcome:
    scores = {
        "train": training_metrics(state),
        "validation": _score(recipe, dataset, "validation", program, state),
        "test": _score(recipe, dataset, "test", program, state),
    }
    probe = probes.probe(recipe.probe)
    more: dict[str, float] = {}
    if probe:
        ready = program.feed, program.evaluate
        more = probe.measure(probes.trained(recipe, dataset, state.variables, *ready))
    return _Outcome(int(state.step), _named(scores) | more, digest(state.variables))


def _guessing(dataset: Dataset, steps: int) -> _Outcome:
    """A run that diverged: no parameters, and the scores of giving every class one probability."""
    chance = Score(100 * (1 - 1 / dataset.classes), math.log(dataset.classes))
    scores = dict.fromkeys(("train", "validation", "test"), chance)
    return _Outcome(steps, _named(scores), parameters="")


def _named(scores: Mapping[str, Score]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for split, score in scores.items():
        metrics |= {f"{split}_error": score.error, f"{split}_loss": score.loss}
    return metrics


def _record(
    recipe: Recipe,
    dataset: Dataset,
    network: Summary,
    outcome: _Outcome,
    environment: dict[str, Any],
) -> Record:
    facts = ("name", "title", "version", "fingerprint")
    return Record(
        arm=recipe.arm,
        seed=recipe.seed,
        config=identity(recipe),
        dataset={fact: getattr(dataset, fact) for fact in facts},
        network={
            "weights": network.params,
            "macs": network.macs,
            "activations": network.activations,
            "receptive_field": network.sees,
        },
        environment=environment,
        **outcome._asdict(),
    )
