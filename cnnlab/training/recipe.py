"""The recipe of one run: every number that training uses, typed and checked.

Durations are written in epochs or in steps, never both: `epochs` or `steps`, `warmup_epochs` or
`warmup_steps`, and so on; the other one is 0. Config files and the command line hold the same keys
in an `ml_collections.Recipe`; here they are frozen.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from flax.core import freeze

from cnnlab import data
from cnnlab.data import PREPROCESSES, Dataset
from cnnlab.files import BadFile, Format
from cnnlab.training.keys import LARGEST_STEP, Keys, RecipeError, key
from cnnlab.training.record import UnusableFolder

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "linear", "step")
DTYPES = ("bfloat16", "float32")
DIVERGENCES = ("fail", "chance")

LARGEST_SEED = 2**32 - 1
"""JAX makes a key of 32 bits of a seed: a larger one would be another's run."""
LARGEST_BATCH = 2**20
LARGEST_RATE = 1e6
MOST_EPOCHS = 1e6


@dataclass(frozen=True)
class Data(Keys):
    """Which images."""

    PATH: ClassVar[str] = "data."
    name: str = key("digits", "the data set", choices=data.names())
    directory: str = key("", "where it lies; empty: $TFDS_DATA_DIR, else ~/tensorflow_datasets")
    image_size: int = key(
        0, "side in pixels of streamed photographs' squares; 0: as stored", low=0, high=8192
    )
    preprocess: str = key(
        "", "gcn_zca: whitened, in place of normalised by channel", choices=PREPROCESSES
    )


@dataclass(frozen=True)
class Model(Keys):
    """Which network."""

    PATH: ClassVar[str] = "model."
    name: str = key("", "a network's name, or a pattern INPUT -> ...")
    dtype: str = key("float32", "what activations and products are computed in", choices=DTYPES)
    options: Mapping[str, Any] = key(freeze({}), "the network's own options")
    batch_norm_groups: int = key(
        1, "parts of a batch, each normalised by statistics of its own", low=1, high=LARGEST_BATCH
    )


@dataclass(frozen=True)
class Train(Keys):
    """How long, in what batches, and how it is evaluated."""

    PATH: ClassVar[str] = "train."
    epochs: float = key(0.0, "length of the run", low=0, high=MOST_EPOCHS)
    steps: int = key(0, "length of the run", low=0, high=LARGEST_STEP)
    batch_size: int = key(128, "images a step", low=1, high=LARGEST_BATCH)
    eval_batch_size: int = key(500, "images a step of evaluation", low=1, high=LARGEST_BATCH)
    log_steps: int = key(50, "steps from one report to the next", low=1, high=LARGEST_STEP)
    evaluate_epochs: float = key(
        0.0, "from one validation to the next; 0: at the end alone", low=0, high=MOST_EPOCHS
    )
    evaluate_steps: int = key(0, "the same in steps", low=0, high=LARGEST_STEP)
    checkpoint_epochs: float = key(
        0.0, "from one checkpoint to the next; 0: at the end alone", low=0, high=MOST_EPOCHS
    )
    checkpoint_steps: int = key(0, "the same in steps", low=0, high=LARGEST_STEP)
    eval_flip: bool = key(False, "score the mean logits of an image and its mirror image")
    eval_shift: bool = key(False, "score those of the image and of it moved by a pixel, two ways")
    on_divergence: str = key(
        "fail", "chance: the errors of a run that diverges are those of guessing",
        choices=DIVERGENCES,
    )  # fmt: skip


@dataclass(frozen=True)
class Optimizer(Keys):
    """How a gradient changes the weights."""

    PATH: ClassVar[str] = "optimizer."
    name: str = key("sgd", "sgd with momentum, or adamw", choices=OPTIMIZERS)
    learning_rate: float = key(0.1, "the schedule's peak", low=0, high=LARGEST_RATE)
    momentum: float = key(0.9, "of sgd; b1 of adamw", low=0, below=1)
    nesterov: bool = key(True, "of sgd's momentum")
    weight_decay: float = key(5e-4, "of kernels only", low=0, high=LARGEST_RATE)
    norm_bias_factor: float = key(
        1.0, "multiplies the rate for the biases of norms", low=0, high=LARGEST_RATE
    )
    label_smoothing: float = key(0.0, "share of the label spread over all classes", low=0, below=1)
    ema_decay: float = key(
        0.0, "a step, of a moving average that is evaluated; 0: none is kept", low=0, below=1
    )
    lookahead: int = key(
        0, "steps after which training goes back to an average; 0: never", low=0, high=LARGEST_STEP
    )


@dataclass(frozen=True)
class Schedule(Keys):
    """The learning rate over the run."""

    PATH: ClassVar[str] = "schedule."
    name: str = key("cosine", "from the peak on: cosine or linear to `end`, or steps",
                    choices=SCHEDULES)  # fmt: skip
    milestones: tuple[float, ...] = key(
        (0.5, 0.75), "of step: fractions of the run, ascending", low=0, below=1
    )
    factor: float = key(0.1, "of step: multiplies the rate at each milestone", low=0, high=1)
    warmup_epochs: float = key(0.0, "length of the warm-up", low=0, high=MOST_EPOCHS)
    warmup_steps: int = key(0, "the same in steps", low=0, high=LARGEST_STEP)
    warmup_rate: float = key(
        0.0, "constant during warm-up; 0: it rises from `start`", low=0, high=LARGEST_RATE
    )
    start: float = key(0.0, "where a warm-up begins to rise, a fraction of the peak",
                       low=0, below=1)  # fmt: skip
    end: float = key(0.0, "where cosine and linear end, likewise", low=0, below=1)


@dataclass(frozen=True)
class Augment(Keys):
    """What is done to training images at random."""

    PATH: ClassVar[str] = "augment."
    crop_padding: int = key(4, "pixels around an image that it is cropped from", low=0, high=1024)
    flip: bool = key(True, "mirror left to right by a coin")
    cutout: int = key(0, "side in pixels of a square cut out", low=0, high=1024)
    reflect: bool = key(False, "the padding is the image mirrored at its border, not zeros")
    alternate: bool = key(False, "mirror an image in every other epoch, not by a coin")
    resized_crop: float = key(
        0.0, "least area of a streamed photograph's crop; 0: its middle", low=0, below=1
    )


@dataclass(frozen=True)
class Recipe(Keys):
    """Everything that makes a run the run it is.

    `Recipe().override({"train.steps": 3})` makes one; what does not go together is found by
    `check_recipe`.
    """

    arm: str = key("", "the ablation's name for this variant")
    seed: int = key(0, "what everything random is derived from", low=0, high=LARGEST_SEED)
    probe: str = key("", "what else is measured of the trained network; see training.probes")
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)


_DURATIONS = (
    ("train", ""),
    ("train", "evaluate_"),  # validation error every so often
    ("train", "checkpoint_"),
    ("schedule", "warmup_"),
)


def identity(recipe: Recipe) -> dict[str, Any]:
    """What makes a run the run it is: the recipe, but not where the data happen to lie."""
    whole = json.loads(json.dumps(recipe.to_dict()))  # as a record gives it back: lists, no tuples
    del whole["data"]["directory"]
    return whole


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A recorded identity, with today's default for each key that is younger than the record.

    A key is only ever added with a default that means what was done before.
    """
    return _filled(config, identity(Recipe()))


def recipe_of(folder: Path) -> Recipe:
    """The recipe of the run in a folder.

    Raises:
        UnusableFolder: there is none.
        BadFile: its `config.json` is no recipe's; says in what.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise UnusableFolder(f"{folder} holds no run: it has no config.json")
    try:
        return Recipe().override(config_format().read(config))
    except RecipeError as error:
        raise BadFile(f"{config}: {error}") from error


@functools.cache
def config_format() -> Format:
    """What a recorded identity holds: keys and types of the default recipe's."""
    return Format.like(identity(Recipe()))


def essence(recipe: Recipe) -> dict[str, Any]:
    """The part of a run's identity that differs from the default recipe.

    It stays what it is when recipes get a new key.
    """
    return _beyond(identity(recipe), identity(Recipe()))


def _beyond(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _beyond(value, defaults[key]) if isinstance(value, dict) and key in defaults else value
        for key, value in config.items()
        if key not in defaults or value != defaults[key]
    }


def _filled(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    inner = {
        key: _filled(config[key], value)
        for key, value in defaults.items()
        if isinstance(value, dict) and isinstance(config.get(key), dict)
    }
    return defaults | config | inner


class Plan(NamedTuple):
    """A recipe's durations in steps, for a training set of known size."""

    steps_per_epoch: int
    steps: int
    evaluate_every: int
    checkpoint_every: int
    warmup: int
    log_every: int

    def until_report(self, step: int) -> int:
        """Steps from `step` to the next report.

        Reports are at every evaluation and checkpoint, every `log_every` steps after one, and at
        the end: where they are depends on no more than the step, whenever the run was resumed.
        """
        since = min((step % every for every in self._periods), default=step)
        ends = (every - step % every for every in self._periods)
        return min(self.steps - step, self.log_every - since % self.log_every, *ends)

    def reports(self, step: int) -> bool:
        """Whether there is a report when `step` steps are done."""
        return self.until_report(step - 1) == 1

    @property
    def _periods(self) -> list[int]:
        return [every for every in (self.evaluate_every, self.checkpoint_every) if every]


def plan(recipe: Recipe, examples: int) -> Plan:
    """Durations in steps; an epoch is as many whole batches as `examples` gives.

    Raises:
        RecipeError: the batch is larger than the training set, the run longer than steps can be
            counted, warm-up or `lookahead` longer than the run, or a milestone inside the warm-up.
    """
    batch = recipe.train.batch_size
    if batch > examples:
        raise RecipeError(f"train.batch_size = {batch} is more than the {examples} training images")
    per_epoch = examples // batch
    durations = [steps_of(recipe, *which, per_epoch) for which in _DURATIONS]
    found = Plan(*[per_epoch, *durations, recipe.train.log_steps])
    if found.steps > LARGEST_STEP:
        raise RecipeError(
            f"train.epochs = {recipe.train.epochs:g} of {per_epoch} steps are more than the "
            f"{LARGEST_STEP:,} steps that can be counted"
        )
    if recipe.optimizer.lookahead > found.steps:
        raise RecipeError(
            f"optimizer.lookahead = {recipe.optimizer.lookahead} is never reached in a run of "
            f"{found.steps} steps"
        )
    if found.warmup >= found.steps:
        raise RecipeError(f"warm-up takes {found.warmup} steps of a run of {found.steps}")
    if recipe.schedule.name == "step":
        _check_milestones(recipe.schedule.milestones, found)
    return found


def _check_milestones(milestones: tuple[float, ...], found: Plan) -> None:
    for fraction in milestones:
        if round(fraction * found.steps) < found.warmup:
            raise RecipeError(
                f"schedule.milestones = {milestones}: {fraction:g} of {found.steps} steps lies in "
                f"the warm-up of {found.warmup}"
            )


def steps_of(recipe: Recipe, section: str, prefix: str, steps_per_epoch: int) -> int:
    """One duration in steps: 0 if it is 0 in both units, and never 0 by rounding.

    Raises:
        RecipeError: both units are given.
    """
    names = f"{section}.{prefix}epochs", f"{section}.{prefix}steps"
    epochs, steps = (getattr(getattr(recipe, section), name.split(".")[1]) for name in names)
    if epochs and steps:
        raise RecipeError(
            f"a duration takes one unit, not two: {names[0]} = {epochs:g} and {names[1]} = {steps}"
            "; set one of them to 0"
        )
    return max(1, round(epochs * steps_per_epoch)) if epochs else int(steps)


def check_recipe(recipe: Recipe) -> None:
    """Find which keys do not go together, before anything is loaded.

    Raises:
        RecipeError: a duration in two units or none, a key that would change nothing, two that
            contradict each other, a probe of runs that may end without a network.
    """
    lengths = [steps_of(recipe, *which, steps_per_epoch=1) for which in _DURATIONS]
    if lengths[0] == 0:
        raise RecipeError("the run has no length: give train.epochs or train.steps")
    if recipe.probe and recipe.train.on_divergence == "chance":
        raise RecipeError(
            f"probe = {recipe.probe!r} has no network to measure where a run diverges, which "
            "train.on_divergence = 'chance' lets it"
        )
    _check_batches(recipe)
    _check_augmentation(recipe.augment)
    _check_streamed(recipe)
    _check_schedule(recipe.schedule, warms_up=lengths[-1] > 0)


def _check_batches(recipe: Recipe) -> None:
    groups = recipe.model.batch_norm_groups
    if recipe.train.batch_size % groups:
        raise RecipeError(
            f"model.batch_norm_groups = {groups} does not divide "
            f"train.batch_size = {recipe.train.batch_size}"
        )
    optimizer = recipe.optimizer
    if optimizer.lookahead and optimizer.ema_decay:
        raise RecipeError(
            f"optimizer.lookahead = {optimizer.lookahead} and optimizer.ema_decay = "
            f"{optimizer.ema_decay:g} each keep an average: set one of them to 0"
        )


def _check_schedule(schedule: Schedule, warms_up: bool) -> None:
    for name in ("warmup_rate", "start"):
        value = getattr(schedule, name)
        if value and not warms_up:
            raise RecipeError(
                f"schedule.{name} = {value:g} would change nothing: give "
                "schedule.warmup_epochs or schedule.warmup_steps"
            )
    if schedule.start and schedule.warmup_rate:
        raise RecipeError(
            f"schedule.start = {schedule.start:g} is of a warm-up that rises, and "
            f"schedule.warmup_rate = {schedule.warmup_rate:g} keeps it constant"
        )
    if schedule.end and schedule.name == "step":
        raise RecipeError(
            f"schedule.end = {schedule.end:g} is of cosine and linear, and schedule.name = 'step'"
        )
    milestones = schedule.milestones
    if any(one >= other for one, other in pairwise(milestones)):
        raise RecipeError(f"schedule.milestones = {milestones} must be in ascending order")


def _check_augmentation(augment: Augment) -> None:
    if augment.alternate and not augment.flip:
        raise RecipeError("augment.alternate = True says how to flip, and augment.flip is False")
    if augment.reflect and not augment.crop_padding:
        raise RecipeError("augment.reflect = True says how to pad, and augment.crop_padding is 0")


def check_images(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse an augmentation after which nothing may be left of an image.

    Raises:
        RecipeError: it pads, mirrors or cuts out more than the images have.
    """
    height, width, _ = dataset.image_shape
    padding, cutout = recipe.augment.crop_padding, recipe.augment.cutout
    images = f"images of {height}x{width}"
    if recipe.augment.reflect and padding >= min(height, width):
        raise RecipeError(
            f"augment.reflect = True: {images} have no {padding} pixels to mirror "
            "(augment.crop_padding)"
        )
    for name, pixels in (("crop_padding", padding), ("cutout", cutout)):
        if pixels >= min(height, width):
            raise RecipeError(
                f"augment.{name} = {pixels} may leave nothing of {images}; at most "
                f"{min(height, width) - 1}"
            )


def dataset_of(recipe: Recipe) -> Dataset:
    """The data set of a recipe that `check_recipe` has nothing against; nothing is decoded.

    Raises:
        DataMissing: it is not there; says where it was looked for and what prepares it.
    """
    return data.open_dataset(
        recipe.data.name,
        preprocess=recipe.data.preprocess,
        directory=recipe.data.directory or None,
        image_size=recipe.data.image_size,
    )


def _check_streamed(recipe: Recipe) -> None:
    """Refuse what is for streamed photographs where there are none, and the reverse."""
    name, size = recipe.data.name, recipe.data.image_size
    if name in data.streamed():
        foreign = [f"augment.{each}" for each in ("crop_padding", "cutout", "alternate")]
        foreign, kind = [*foreign, "data.preprocess"], "streamed"
        if recipe.probe:
            raise RecipeError(
                f"probe = {recipe.probe!r} reads a whole split, but {name} is streamed"
            )
        if size == 0:
            raise RecipeError(
                f"data.image_size = 0, but the images of {name} differ in size: give the side "
                "in pixels that they are brought to, e.g. 224"
            )
    else:
        foreign, kind = ["augment.resized_crop", "data.image_size"], "of one size and not streamed"
    for path in foreign:
        section, name_of_key = path.split(".")
        value = getattr(getattr(recipe, section), name_of_key)
        if value:
            off = type(value)()
            raise RecipeError(f"{path} = {value!r}, but {name} is {kind}: set it to {off!r}")
