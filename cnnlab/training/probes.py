"""What else is measured of a trained network: a recipe's `probe`, by name.

A probe runs once, after the final evaluation, and what it finds joins the record's metrics. It
gives the same numbers for the same variables and seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen
from jax import Array
from numpy.typing import NDArray

from cnnlab import data, ops
from cnnlab.analysis.lesion import blocks, lesioned, some, without
from cnnlab.analysis.shift import REACH, logit_change, offsets, shifted
from cnnlab.data import Dataset, Images, Records
from cnnlab.errors import Mistake, unknown
from cnnlab.files import BadFile
from cnnlab.training import checkpoint, placement
from cnnlab.training.evaluate import Score, evaluate
from cnnlab.training.feed import Feed
from cnnlab.training.program import build_model, program
from cnnlab.training.recipe import Recipe, RecipeError, check_recipe, dataset_of, recipe_of
from cnnlab.training.record import METRICS


class Trained(NamedTuple):
    """A trained network, and the data it was trained on, as a probe sees them.

    Attributes:
        model: the network.
        variables: what evaluation uses, `{"params": ..., "batch_stats": ...}`.
        prepare: from images as stored, [N, H, W, C], to what the network takes.
        eval_step: `(variables, images [N, H, W, C] as stored, labels [N])` to loss and wrong, [N].
        dataset: its splits are read when a probe asks for them.
        batch_size: of evaluation.
        seed: the run's.
    """

    model: linen.Module
    variables: Any
    prepare: Callable[[Array], Array]
    eval_step: Callable[[Any, Any, Any], tuple[Array, Array]]
    dataset: Dataset
    batch_size: int
    seed: int

    def score(self, images: Images | Records) -> Score:
        """Error and loss on some images, as in every evaluation."""
        return evaluate(self.eval_step, self.variables, images, self.batch_size)

    def answering(self, forward: Callable[..., Array]) -> Callable[..., NDArray[np.floating]]:
        """From `forward(variables, x, argument)` on images x as the network takes them, its logits.

        What comes back takes images as stored, [N, H, W, C], and an argument, and gives
        [N, classes]: compiled once, batch by batch.
        """

        def step(variables: Any, images: Array, argument: Any) -> Array:
            return forward(variables, self.prepare(images), argument)

        compiled, size = _jitted(step), self.batch_size

        def answer(images: NDArray[np.uint8], argument: Any) -> NDArray[np.floating]:
            starts = range(0, len(images), size)
            batches = (compiled(self.variables, images[at : at + size], argument) for at in starts)
            return np.concatenate([np.asarray(batch) for batch in batches])

        return answer


class Probe(NamedTuple):
    """Some metrics by name, each with what it is in words, and what measures them.

    Of each less is better.

    A name that ends in `_error` or `_gap` is in percent. `check(model, image_shape)` raises
    ValueError for a network of which they cannot be measured.
    """

    metrics: Mapping[str, str]
    measure: Callable[[Trained], dict[str, float]]
    check: Callable[[linen.Module, tuple[int, int, int]], object] = lambda *_: None


def _jitted(step: Callable[..., Any]) -> Callable[..., Any]:
    """By the backend of evaluation; what comes out is whole in every process."""
    return jax.jit(ops.using(ops.preferred())(step), out_shardings=placement.everywhere())


def trained(
    recipe: Recipe,
    dataset: Dataset,
    variables: Any,
    feed: Feed,
    eval_step: Callable[[Any, Any, Any], tuple[Array, Array]],
) -> Trained:
    """The network of a recipe with trained variables, fed and evaluated as it was in training."""
    return Trained(
        model=build_model(recipe.model, dataset.classes),
        variables=variables,
        prepare=lambda images: data.normalise(images, feed.mean, feed.std),
        eval_step=eval_step,
        dataset=dataset,
        batch_size=recipe.train.eval_batch_size,
        seed=recipe.seed,
    )


def load(folder: Path, directory: str | None = None) -> Trained:
    """The network that a run left in its folder, from its newest good checkpoint.

    Nothing in the folder is changed.

    Args:
        folder: a run's, as `training.run` made it.
        directory: where the data are; see `data.open_dataset`.

    Raises:
        UnusableFolder: no run was begun there.
        BadFile: its `config.json` is no recipe, or one that cannot be.
        RestoreFailed: a checkpoint could not be read, though nothing shows that it is damaged.
        FileNotFoundError: there is no good checkpoint.
        DataMissing: as `data.open_dataset`.
    """
    recipe = recipe_of(folder).override({"data.directory": directory or ""})
    with _blamed_on(folder / "config.json"):
        check_recipe(recipe)
    dataset = dataset_of(recipe)
    with _blamed_on(folder / "config.json"):
        found = program(recipe, dataset)
    state = checkpoint.load(folder / "checkpoints", found.shapes)
    if state is None:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    return trained(recipe, dataset, state.variables, found.feed, _jitted(found.evaluate))


@contextmanager
def _blamed_on(config: Path) -> Iterator[None]:
    try:
        yield
    except Mistake as error:
        raise BadFile(f"{config}: {error}") from error


def probe(name: str) -> Probe | None:
    """The probe that a recipe names; None for the empty name.

    Raises:
        RecipeError: no such probe; says those there are and the nearest.
    """
    if name and name not in PROBES:
        raise RecipeError(unknown("probe", name, tuple(PROBES)))
    return PROBES.get(name)


def check(name: str, model: linen.Module, image_shape: tuple[int, int, int]) -> None:
    """Refuse a probe that a network on images (H, W, C) has no answer to.

    Raises:
        RecipeError: as `probe`; or there is nothing in the network that it could measure.
    """
    found = probe(name)
    try:
        if found:
            found.check(model, image_shape)
    except ValueError as error:
        raise RecipeError(f"probe = {name!r}: {error}") from error


def metrics_of(recipe: Recipe) -> tuple[str, ...]:
    """The names of all metrics in the records of a recipe.

    Raises:
        RecipeError: as `probe`.
    """
    found = probe(recipe.probe)
    return METRICS + (tuple(found.metrics) if found else ())


def meaning(metric: str) -> str:
    """What a probe's metric is, in words; empty for those that every record has."""
    return next((each.metrics[metric] for each in PROBES.values() if metric in each.metrics), "")


def gap(network: Trained) -> dict[str, float]:
    """Error on the training images as they are, and how much larger that of the test images is."""
    train, test = (network.score(network.dataset.split(name)).error for name in ("train", "test"))
    return {"clean_train_error": train, "generalisation_gap": test - train}


LESION_DRAWS = 8
"""How many sets of blocks are drawn where several are to be cut out."""


def lesion(network: Trained) -> dict[str, float]:
    """How much the test error rises when blocks are cut out; see `analysis.lesion`.

    Its mean and its worst over the blocks that keep the shape, cut out one at a time; the mean of
    the down-sampling blocks less that of the others; and the mean where a fifth of all blocks, of
    those that keep the shape, is cut out at random.
    """
    found = blocks(network.model, network.dataset.image_shape)
    fifth = max(1, round(len(found) / 5))
    several = some(found, fifth, draws=LESION_DRAWS, seed=network.seed)
    whole, *errors = lesion_errors(network, [(), *((block.name,) for block in found), *several])
    rises = np.array(errors) - whole
    single, keeps = rises[: len(found)], np.array([block.keeps_shape for block in found])
    return {
        "lesion_gap": float(single[keeps].mean()),
        "lesion_worst_gap": float(single[keeps].max()),
        "lesion_downsampling_gap": float(single[~keeps].mean() - single[keeps].mean()),
        "lesion_fifth_gap": float(rises[len(found) :].mean()),
    }


def lesion_errors(network: Trained, removals: Sequence[Sequence[str]]) -> list[float]:
    """Test error in percent without the blocks of each removal, named as `analysis.lesion` does.

    Of one view an image, whatever `train.eval_flip` and `train.eval_shift` say.

    Raises:
        ValueError: the network has no such blocks.
    """
    found, test = (
        blocks(network.model, network.dataset.image_shape),
        network.dataset.decoded("test"),
    )

    def forward(variables: Any, x: Array, kept: dict[str, Array]) -> Array:
        return lesioned(network.model, variables, x, kept)

    answer = network.answering(forward)
    return [_error(answer(test.images, without(r, found)), test) for r in removals]


def shift(network: Trained) -> dict[str, float]:
    """What images moved by 1 to 4 pixels do to test error and logits: `shift_responses`."""
    still, *responses = shift_responses(network)
    rises = {f"shift{d}_gap": each.error - still.error for d, each in enumerate(responses, 1)}
    return rises | {f"shift{d}_change": each.change for d, each in enumerate(responses, 1)}


class ShiftResponse(NamedTuple):
    """error: of shifted test images, in percent; change: of their logits, see `logit_change`."""

    error: float
    change: float


def shift_responses(network: Trained) -> list[ShiftResponse]:
    """What test images moved by 0, 1, ... REACH pixels do, each the mean over eight directions.

    Of one view an image, whatever `train.eval_flip` and `train.eval_shift` say.
    """
    test = network.dataset.decoded("test")

    def forward(variables: Any, x: Array, by: Array) -> Array:
        logits: Any = network.model.apply(variables, shifted(x, by), train=False)
        return logits

    answer = network.answering(forward)
    still = answer(test.images, np.zeros(2, np.int32))
    responses = []
    for distance in range(REACH + 1):
        moved = [answer(test.images, np.array(by, np.int32)) for by in offsets(distance)]
        error = np.mean([_error(logits, test) for logits in moved])
        change = np.mean([logit_change(still, logits) for logits in moved])
        responses.append(ShiftResponse(float(error), float(change)))
    return responses


def _error(logits: NDArray[np.floating], images: Images) -> float:
    return 100 * float((logits.argmax(-1) != images.labels).mean())


_MOVED = {
    distance: f"when images move by {distance} pixel{'s' * (distance > 1)}"
    for distance in range(1, REACH + 1)
}

PROBES = {
    "gap": Probe(
        {
            "clean_train_error": "the error on training images as they are",
            "generalisation_gap": "the test error less the error on training images as they are",
        },
        gap,
    ),
    "lesion": Probe(
        {
            "lesion_gap": "the rise of the test error without one block, a mean over all blocks "
            "that keep the shape",
            "lesion_worst_gap": "the rise without the one block, of those that keep the shape, "
            "that is missed most",
            "lesion_downsampling_gap": "the mean rise without a block that changes the shape, less "
            "that without one that keeps it",
            "lesion_fifth_gap": "the mean rise without a fifth of the blocks, drawn from those "
            "that keep the shape",
        },
        lesion,
        check=blocks,
    ),
    "shift": Probe(
        {f"shift{d}_gap": f"the rise of the test error {where}" for d, where in _MOVED.items()}
        | {
            f"shift{d}_change": f"how far the logits go {where}, as a part of their size"
            for d, where in _MOVED.items()
        },
        shift,
    ),
}
