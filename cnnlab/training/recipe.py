"""The recipe of one run: every number that training uses, in one locked config.

Durations are written in epochs or in steps, never both: `epochs` or `steps`, `warmup_epochs` or
`warmup_steps`, and so on; the other one is 0.
"""

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cnnlab import data
from cnnlab.data import PREPROCESSES, Dataset
from cnnlab.errors import Mistake, unknown
from cnnlab.files import Format
from cnnlab.training.record import UnusableFolder

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "linear", "step")
DTYPES = ("bfloat16", "float32")
DIVERGENCES = ("fail", "chance")


class RecipeError(Mistake):
    """A recipe that cannot be run; the message names the key, the value and the choices."""


def default_recipe() -> ConfigDict:
    """A locked recipe to be filled in; setting a key it does not have is an error."""
    recipe = ConfigDict()
    recipe.arm = ""  # the ablation's name for this variant
    recipe.seed = 0
    recipe.probe = ""  # what else is measured of the trained network; see training.probes
    recipe.data = ConfigDict({"name": "digits"})
    recipe.data.directory = ""  # empty: $TFDS_DATA_DIR, else ~/tensorflow_datasets
    recipe.data.image_size = 0  # side of streamed photographs' squares; 0: as stored, all alike
    recipe.data.preprocess = ""  # "gcn_zca": whitened, in place of normalised by channel
    recipe.model = ConfigDict({"name": "", "dtype": "float32", "options": {}})
    recipe.model.batch_norm_groups = 1  # parts of a batch, each with statistics of its own
    recipe.train = ConfigDict({"batch_size": 128, "eval_batch_size": 500, "log_steps": 50})
    recipe.train.eval_flip = False  # the mean logits of an image and its mirror image are scored
    recipe.train.eval_shift = False  # those of the image and of it moved by a pixel, two ways
    recipe.train.on_divergence = "fail"  # "chance": its errors are then those of guessing
    recipe.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.9,  # AdamW: b1
            "nesterov": True,
            "weight_decay": 5e-4,  # kernels only
            "norm_bias_factor": 1.0,  # what the rate is multiplied by for the biases of norms
            "label_smoothing": 0.0,
            "ema_decay": 0.0,  # of a moving average, which is evaluated; 0: none is kept
            "lookahead": 0,  # steps after which training goes back to an average; 0: it never does
        }
    )
    recipe.schedule = ConfigDict({"name": "cosine"})
    recipe.schedule.milestones = (0.5, 0.75)  # schedule "step": fractions of the run
    recipe.schedule.factor = 0.1  # schedule "step": multiplies the rate at each milestone
    recipe.schedule.warmup_rate = 0.0  # constant during warm-up; 0: it rises from `start`
    recipe.schedule.start = 0.0  # where a warm-up begins to rise, as a fraction of the peak
    recipe.schedule.end = 0.0  # where schedules "cosine" and "linear" end, likewise
    recipe.augment = ConfigDict({"crop_padding": 4, "flip": True, "cutout": 0})
    recipe.augment.reflect = False  # crops see the image mirrored at its border, not zeros
    recipe.augment.alternate = False  # flip an image in every other epoch, not by a coin
    recipe.augment.resized_crop = 0.0  # least area of a streamed photograph's crop; 0: its middle
    for section, prefix in _DURATIONS:
        recipe[section][f"{prefix}epochs"] = 0.0
        recipe[section][f"{prefix}steps"] = 0
    return recipe.lock()


_DURATIONS = (
    ("train", ""),
    ("train", "evaluate_"),  # validation error every so often
    ("train", "checkpoint_"),
    ("schedule", "warmup_"),
)


def identity(recipe: ConfigDict) -> dict[str, Any]:
    """What makes a run the run it is: the recipe, but not where the data happen to lie."""
    whole = json.loads(json.dumps(recipe.to_dict()))  # as a record gives it back: lists, no tuples
    del whole["data"]["directory"]
    return whole


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """A recorded identity, with today's default for each key that is younger than the record.

    A key is only ever added with a default that means what was done before.
    """
    return _filled(config, identity(default_recipe()))


def recipe_of(folder: Path) -> ConfigDict:
    """The recipe of the run in a folder.

    Raises:
        UnusableFolder: there is none.
        BadFile: its `config.json` is no recipe's; says in what.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise UnusableFolder(f"{folder} holds no run: it has no config.json")
    return ConfigDict(completed(config_format().read(config)))


@functools.cache
def config_format() -> Format:
    """What a recorded identity holds: keys and types of the default recipe's."""
    return Format.like(identity(default_recipe()))


def essence(recipe: ConfigDict) -> dict[str, Any]:
    """The part of a run's identity that differs from the default recipe.

    It stays what it is when recipes get a new key.
    """
    return _beyond(identity(recipe), identity(default_recipe()))


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

    @property
    def longest_stretch(self) -> int:
        """The most steps in which nothing is due, but at their end."""
        return min(self.steps, *self._periods)

    def until_due(self, step: int) -> int:
        """Steps from `step` to the next report, evaluation, checkpoint or end of an epoch."""
        return min(self.steps - step, *(every - step % every for every in self._periods))

    @property
    def _periods(self) -> list[int]:
        periods = (self.steps_per_epoch, self.evaluate_every, self.checkpoint_every, self.log_every)
        return [every for every in periods if every]


def plan(recipe: ConfigDict, examples: int) -> Plan:
    """Durations in steps; an epoch is as many whole batches as `examples` gives.

    Raises:
        RecipeError: the batch is larger than the training set, warm-up or `lookahead` longer than
            the run.
    """
    batch = recipe.train.batch_size
    if batch > examples:
        raise RecipeError(f"train.batch_size = {batch} is more than the {examples} training images")
    per_epoch = examples // batch
    durations = [steps_of(recipe, *which, per_epoch) for which in _DURATIONS]
    found = Plan(*[per_epoch, *durations, recipe.train.log_steps])
    if recipe.optimizer.lookahead > found.steps:
        raise RecipeError(
            f"optimizer.lookahead = {recipe.optimizer.lookahead} is never reached in a run of "
            f"{found.steps} steps"
        )
    if found.warmup >= found.steps:
        raise RecipeError(f"warm-up takes {found.warmup} steps of a run of {found.steps}")
    return found


def steps_of(recipe: ConfigDict, section: str, prefix: str, steps_per_epoch: int) -> int:
    """One duration in steps: 0 if it is 0 in both units, and never 0 by rounding.

    Raises:
        RecipeError: both units are given, or the duration is negative.
    """
    names = f"{section}.{prefix}epochs", f"{section}.{prefix}steps"
    epochs, steps = (recipe[section][name.split(".")[1]] for name in names)
    given = f"{names[0]} = {epochs:g} and {names[1]} = {steps}"
    if epochs and steps:
        raise RecipeError(f"a duration takes one unit, not two: {given}; set one of them to 0")
    if epochs < 0 or steps < 0:
        raise RecipeError(f"a duration cannot be negative: {given}")
    return max(1, round(epochs * steps_per_epoch)) if epochs else steps


def check_recipe(recipe: ConfigDict, datasets: Iterable[str]) -> None:
    """Find what is wrong with a recipe before anything is loaded.

    Raises:
        RecipeError: a name that is not among the choices, a number out of range, a duration in
            two units, keys that do not go together, a probe of runs that may end without a network.
    """
    _one_of("data.name", recipe.data.name, datasets)
    _check_names(recipe)
    _check_numbers(recipe)
    _check_augmentation(recipe)
    _check_streamed(recipe)
    lengths = [steps_of(recipe, *which, steps_per_epoch=1) for which in _DURATIONS]
    if lengths[0] == 0:
        raise RecipeError("the run has no length: give train.epochs or train.steps")
    _check_schedule(recipe.schedule, warms_up=lengths[-1] > 0)


def _check_schedule(schedule: ConfigDict, warms_up: bool) -> None:
    for key in ("warmup_rate", "start"):
        if schedule[key] and not warms_up:
            raise RecipeError(
                f"schedule.{key} = {schedule[key]:g} would change nothing: give "
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


def _check_names(recipe: ConfigDict) -> None:
    _one_of("data.preprocess", recipe.data.preprocess, PREPROCESSES)
    _one_of("train.on_divergence", recipe.train.on_divergence, DIVERGENCES)
    if recipe.probe and recipe.train.on_divergence == "chance":
        raise RecipeError(
            f"probe = {recipe.probe!r} has no network to measure where a run diverges, which "
            "train.on_divergence = 'chance' lets it"
        )
    _one_of("model.dtype", recipe.model.dtype, DTYPES)
    _one_of("optimizer.name", recipe.optimizer.name, OPTIMIZERS)
    _one_of("schedule.name", recipe.schedule.name, SCHEDULES)


def _check_numbers(recipe: ConfigDict) -> None:
    for key in ("batch_size", "eval_batch_size", "log_steps"):
        _within(f"train.{key}", recipe.train[key], 1, None)
    groups = recipe.model.batch_norm_groups
    _within("model.batch_norm_groups", groups, 1, None)
    if recipe.train.batch_size % groups:
        raise RecipeError(
            f"model.batch_norm_groups = {groups} does not divide "
            f"train.batch_size = {recipe.train.batch_size}"
        )
    for key in ("momentum", "label_smoothing", "ema_decay"):
        _within(f"optimizer.{key}", recipe.optimizer[key], 0, 1)
    _within("optimizer.lookahead", recipe.optimizer.lookahead, 0, None)
    if recipe.optimizer.lookahead and recipe.optimizer.ema_decay:
        raise RecipeError(
            f"optimizer.lookahead = {recipe.optimizer.lookahead} and optimizer.ema_decay = "
            f"{recipe.optimizer.ema_decay:g} each keep an average: set one of them to 0"
        )
    for key in ("start", "end"):
        _within(f"schedule.{key} (a fraction of the peak)", recipe.schedule[key], 0, 1)
    for key in ("learning_rate", "weight_decay", "norm_bias_factor"):
        _within(f"optimizer.{key}", recipe.optimizer[key], 0, None)
    _within("schedule.warmup_rate", recipe.schedule.warmup_rate, 0, None)
    for fraction in recipe.schedule.milestones:
        _within("schedule.milestones (fractions of the run)", fraction, 0, 1)


def _check_augmentation(recipe: ConfigDict) -> None:
    for key in ("crop_padding", "cutout"):
        _within(f"augment.{key}", recipe.augment[key], 0, None)
    _within("augment.resized_crop", recipe.augment.resized_crop, 0, 1)
    if recipe.augment.alternate and not recipe.augment.flip:
        raise RecipeError("augment.alternate = True says how to flip, and augment.flip is False")
    if recipe.augment.reflect and not recipe.augment.crop_padding:
        raise RecipeError("augment.reflect = True says how to pad, and augment.crop_padding is 0")


def dataset_of(recipe: ConfigDict) -> Dataset:
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


def _check_streamed(recipe: ConfigDict) -> None:
    """Refuse what is for streamed photographs where there are none, and the reverse."""
    name, size = recipe.data.name, recipe.data.image_size
    if name in data.streamed():
        foreign = [f"augment.{key}" for key in ("crop_padding", "cutout", "alternate")]
        foreign, kind = [*foreign, "data.preprocess"], "streamed"
        if recipe.probe:
            raise RecipeError(
                f"probe = {recipe.probe!r} reads a whole split, but {name} is streamed"
            )
        if size <= 0:
            raise RecipeError(
                f"data.image_size = {size}, but the images of {name} differ in size: give the side "
                "in pixels that they are brought to, e.g. 224"
            )
    else:
        foreign, kind = ["augment.resized_crop", "data.image_size"], "of one size and not streamed"
    for path in foreign:
        section, key = path.split(".")
        if recipe[section][key]:
            value = recipe[section][key]
            off = type(value)()
            raise RecipeError(f"{path} = {value!r}, but {name} is {kind}: set it to {off!r}")


def _one_of(key: str, value: str, choices: Iterable[str]) -> None:
    choices = sorted(choices)
    if value not in choices:
        raise RecipeError(unknown(key, value, choices))


def _within(key: str, value: Any, low: float, below: float | None) -> None:
    if not (value >= low and (below is None or value < below)):  # so that NaN is refused too
        bound = f"in [{low:g}, {below:g})" if below is not None else f"at least {low:g}"
        raise RecipeError(f"{key} = {value:g} must be {bound}")
