"""One run: a recipe in, a trained network and its `Record` out.

The run's folder holds `config.json`, `environment.json`, `metrics.jsonl`, `tensorboard/`,
`checkpoints/` and, at the end, `record.json`. A run that was cut off, by whatever, is taken up
from its newest good checkpoint and ends with the same bits as one that was not.
"""

import functools
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console

from cnnlab import data
from cnnlab.analysis import Summary, summarize
from cnnlab.data import Dataset, Images, Records
from cnnlab.errors import Failure
from cnnlab.training import placement, probes
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.environment import environment
from cnnlab.training.evaluate import Score, evaluate
from cnnlab.training.interrupt import stop_on_signals
from cnnlab.training.journal import Journal
from cnnlab.training.live import Live
from cnnlab.training.loop import Loop, NotFinite, training_metrics
from cnnlab.training.programs import Programs, build_model, compile_programs
from cnnlab.training.progress import Display
from cnnlab.training.recipe import RecipeError, check_recipe, completed, dataset_of, identity
from cnnlab.training.record import Record, UnusableFolder, write_whole
from cnnlab.training.scene import Scene
from cnnlab.training.state import State, digest
from cnnlab.training.step import INIT, stream


class OutOfMemory(Failure):
    """A device has too little memory for a run; the message names what takes it."""


def run(
    recipe: ConfigDict, folder: Path, console: Console | None = None, live: Live | None = None
) -> Record:
    """Train as `recipe` says, in `folder`, shown by `live`, and return the record.

    A finished run is not run again: its record is read. Only the final evaluation reads the test
    split.

    Raises:
        RecipeError, PatternError, DoesNotFit: the recipe is wrong; nothing was loaded.
        DataMissing: the data set is not there; says where it was looked for and what prepares it.
        UnusableFolder: the folder cannot be written or holds another run.
        NotFinite: the loss or a parameter is no number, and the recipe makes no record of that;
            the last good checkpoint stays.
        OutOfMemory: a device has too little for the recipe's batches.
        SaveFailed: a checkpoint could not be written.
        Interrupted: SIGTERM or SIGINT; saved.
    """
    dataset, network = inspect(recipe)
    path = folder / "record.json"
    _check_same(folder, recipe)
    if path.exists():
        return Record.read(path)
    _check_same_backend(folder)
    with _desk(folder) as desk, _little_memory_said(recipe):
        _prepare(desk, recipe, dataset, network)
        started = time.perf_counter()
        programs = compile_programs(recipe, dataset)
        compile_seconds = time.perf_counter() - started
        shown = console or Console() if placement.leads() else Console(quiet=True)
        try:
            state = _train(recipe, folder, desk, shown, live, dataset, programs, compile_seconds)
            outcome = _measured(recipe, dataset, programs, state)
        except NotFinite as error:
            if recipe.train.on_divergence == "fail":
                raise
            outcome = _guessing(dataset, error.step)
        record = _record(recipe, dataset, network, outcome, _environment(desk))
        record.write(desk / path.name)
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
def _little_memory_said(recipe: ConfigDict) -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = [f"train.{key} = {recipe.train[key]}" for key in ("batch_size", "eval_batch_size")]
        raise OutOfMemory(
            f"{_title(recipe)}: too little memory on {jax.devices()[0].device_kind} for "
            f"{' and '.join(sizes)}; smaller ones, more devices or model.dtype = 'bfloat16' help"
        ) from error


def inspect(recipe: ConfigDict) -> tuple[Dataset, Summary]:
    """Check a recipe and its data set, without loading any image.

    Raises:
        RecipeError, PatternError, DoesNotFit, DataMissing: as `run`.
    """
    check_recipe(recipe, data.names())
    probes.probe(recipe.probe)
    placement.check_shares(recipe.train.batch_size)
    build_model(recipe, classes=1)
    dataset = dataset_of(recipe)
    padding, sides = recipe.augment.crop_padding, dataset.image_shape[:2]
    if recipe.augment.reflect and padding >= min(sides):
        raise RecipeError(
            f"augment.reflect = True: images of {sides[0]}x{sides[1]} have no "
            f"{padding} pixels to mirror (augment.crop_padding)"
        )
    model = build_model(recipe, dataset.classes)
    network = summarize(model, dataset.image_shape)
    probes.check(recipe.probe, model, dataset.image_shape)
    if network.rows[-1].shape != (dataset.classes,):
        raise RecipeError(
            f"{recipe.model.name} puts out {network.rows[-1].shape} where {dataset.title} wants "
            f"({dataset.classes},), a number for each class: end it with FC"
        )
    return dataset, network


def _written(recipe: ConfigDict) -> str:
    return json.dumps(identity(recipe), indent=2, sort_keys=True)


def _check_same(folder: Path, recipe: ConfigDict) -> None:
    path = folder / "config.json"
    if path.exists() and completed(json.loads(path.read_text())) != identity(recipe):
        raise UnusableFolder(f"{folder} holds a run of another recipe; see its config.json")


def _check_same_backend(folder: Path) -> None:
    path, here = folder / "environment.json", environment()["convolutions"]
    if not path.exists():
        return
    # What was begun before there was a choice was begun by XLA.
    begun = json.loads(path.read_text()).get("convolutions", "xla")
    if begun != here:
        raise UnusableFolder(
            f"{folder} holds a run begun with convolutions by {begun}, and here they would be by "
            f"{here}, with other bits; CNNLAB_CONV={begun.split()[0]} goes on with it, in another "
            "folder it starts anew"
        )


def _prepare(folder: Path, recipe: ConfigDict, dataset: Dataset, network: Summary) -> None:
    """Make the folder and say now, not hours later, that it cannot be used."""
    # Parameters, gradients and momentum in float32, in a few checkpoints.
    needed = 2**24 + 3 * 4 * 4 * network.params
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UnusableFolder(f"{folder} has {free:,} bytes free; the run needs {needed:,}")
        write_whole(folder / "config.json", _written(recipe))
        facts = _environment(folder) | {"dataset": dataset.fingerprint}
        write_whole(folder / "environment.json", json.dumps(facts, indent=2, sort_keys=True))
    except UnusableFolder:
        raise
    except OSError as error:
        raise UnusableFolder(f"cannot write to {folder}: {error}") from error


def _environment(folder: Path) -> dict[str, Any]:
    """Where a run in `folder` is at work, and as `begun` where it was begun, if elsewhere."""
    here, path = environment(), folder / "environment.json"
    before = json.loads(path.read_text()) if path.exists() else here
    begun = before.get("begun", {fact: before.get(fact) for fact in here})
    return here if begun == here else here | {"begun": begun}


def _train(
    recipe: ConfigDict,
    folder: Path,
    desk: Path,
    console: Console,
    live: Live | None,
    dataset: Dataset,
    programs: Programs,
    compile_seconds: float,
) -> State:
    key, plan = placement.key_of(recipe.seed), programs.plan
    checkpoints = Checkpoints(folder / "checkpoints")
    state = checkpoints.newest(programs.shapes) or programs.create(stream(key, INIT, 0))
    step = int(state.step)
    title = _title(recipe)
    if step:
        console.print(f"{title}  goes on from step {step} of {plan.steps}", highlight=False)
    journal = Journal(desk, step)
    journal.write(step, compile_seconds=compile_seconds)
    with (
        stop_on_signals() as wish,
        live.showing(Scene(recipe, dataset, programs, state, journal))
        if live
        else nullcontext() as look,
        Display(console, title, step, plan.steps, recipe.train.batch_size) as display,
        programs.feed.open(recipe.seed, range(step, plan.steps)) as fed,
    ):
        loop = Loop(
            programs=programs,
            fed=fed,
            key=key,
            checkpoints=checkpoints,
            journal=journal,
            display=display,
            validate=lambda state: _score(recipe, dataset, "validation", programs, state),
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


def _title(recipe: ConfigDict) -> str:
    return f"{recipe.arm} seed {recipe.seed}".strip()


@functools.lru_cache(maxsize=2)
def _held_out(dataset: Dataset, which: str) -> Images | Records:
    return dataset.split(which)


def _score(
    recipe: ConfigDict, dataset: Dataset, which: str, programs: Programs, state: State
) -> Score:
    split, batch = _held_out(dataset, which), recipe.train.eval_batch_size
    return evaluate(programs.eval_step, state.variables, split, batch)


class _Outcome(NamedTuple):
    steps: int
    metrics: dict[str, float]
    parameters: str


def _measured(recipe: ConfigDict, dataset: Dataset, programs: Programs, state: State) -> _Outcome:
    scores = {
        "train": training_metrics(state),
        "validation": _score(recipe, dataset, "validation", programs, state),
        "test": _score(recipe, dataset, "test", programs, state),
    }
    probe = probes.probe(recipe.probe)
    more: dict[str, float] = {}
    if probe:
        ready = programs.feed, programs.eval_step
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
    recipe: ConfigDict,
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
