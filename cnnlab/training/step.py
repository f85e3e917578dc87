"""One training step: the loss, the update by its gradient, and the step that makes its own batch.

All are pure functions, to be jitted; and so is the step of evaluation.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from flax.traverse_util import flatten_dict
from jax import Array
from jax.sharding import Sharding

from cnnlab import data
from cnnlab.training.averaging import Averaging
from cnnlab.training.state import State, Tally


def loss_of(
    model: linen.Module,
    params: Any,
    batch_stats: Any,
    x: Array,
    y: Array,
    key: Array,
    *,
    label_smoothing: float,
) -> tuple[Array, tuple[Array, Any]]:
    """The mean cross-entropy of a batch, and (logits [N, classes], new batch statistics).

    Of every pair (weight, logits) that the model sows in `aux_logits` the cross-entropy is added,
    weight times.

    Args:
        model: called in training mode.
        params: its parameters, by which the loss is differentiated.
        batch_stats: its running statistics.
        x: prepared images [N, H, W, C].
        y: labels [N].
        key: of dropout.
        label_smoothing: share of the label that is spread over all classes.
    """
    logits, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        x,
        train=True,
        mutable=["batch_stats", "aux_logits"],
        rngs={"dropout": key},
    )
    loss = cross_entropy(logits, y, label_smoothing).mean()
    sown = flatten_dict(updates.get("aux_logits", {})).values()
    for weight, auxiliary in itertools.chain(*sown):
        loss += weight * cross_entropy(auxiliary, y, label_smoothing).mean()
    return loss, (logits, updates.get("batch_stats", {}))


def cross_entropy(logits: Array, labels: Array, smoothing: float) -> Array:
    """logits [N, classes], labels [N] -> loss [N] in nats, computed in float32."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), targets)


def wrong(logits: Array, labels: Array) -> Array:
    """logits [N, classes], labels [N] -> 1 where the largest logit is another class, [N]."""
    return (logits.argmax(-1) != labels).astype(jnp.int32)


Update = Callable[[State, Array, Array, Array, Array], State]
"""`(state, x [N, H, W, C], y [N], key, first) -> state`, as `make_update` describes it."""
Step = Callable[..., State]
"""`(state, *what the feed gives, key) -> state`."""


def make_update(
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    *,
    label_smoothing: float,
    averaging: Averaging | None = None,
    groups: int = 1,
) -> Update:
    """The bare step `(state, x [N, H, W, C], y [N], key, first) -> state` on a prepared batch.

    `first` says whether the batch begins an epoch.

    Of several `groups` each goes through the network for itself: its norms know nothing of the
    others, and the running statistics move to the mean of what each would make of them. With one to
    a device (or more) no norm has to wait for another device.
    """
    loss = _in_groups(partial(loss_of, model, label_smoothing=label_smoothing), groups)

    def update(state: State, x: Array, y: Array, key: Array, first: Array) -> State:
        (value, (logits, batch_stats)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.batch_stats, x, y, stream(key, DROPOUT, state.step)
        )
        change, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, change)
        fresh, average = {"params": params, "batch_stats": batch_stats}, state.average
        if averaging:
            fresh, average = averaging(fresh, average, state.step)
        tally = _count(state, value, wrong(logits, y), first)
        return State(state.step + 1, **fresh, opt_state=opt_state, average=average, tally=tally)

    return update


_Loss = Callable[[Any, Any, Array, Array, Array], tuple[Array, tuple[Array, Any]]]


def _in_groups(loss: _Loss, groups: int) -> _Loss:
    """The mean of a loss over equal groups of the batch, and of the statistics it gives."""
    if groups == 1:
        return loss

    def of_all(
        params: Any, batch_stats: Any, x: Array, y: Array, key: Array
    ) -> tuple[Array, tuple[Array, Any]]:
        x, y = (array.reshape(groups, -1, *array.shape[1:]) for array in (x, y))
        each = jax.vmap(loss, in_axes=(None, None, 0, 0, 0))
        keys = jax.random.split(key, groups)
        losses, (logits, batch_stats) = each(params, batch_stats, x, y, keys)
        batch_stats = jax.tree.map(lambda leaf: leaf.mean(0), batch_stats)
        return losses.mean(), (logits.reshape(-1, logits.shape[-1]), batch_stats)

    return of_all


INIT, ORDER, AUGMENT, DROPOUT, SIDES = range(5)
"""What a run's key is folded with first, so that no two uses of it share numbers."""


def stream(key: Array, purpose: int, step: Array | int) -> Array:
    """The key of one purpose at one step (or epoch)."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), step)


def epoch_order(key: Array, epoch: Array | int, *, examples: int, batch_size: int) -> Array:
    """A shuffle of the training set, [steps, batch_size]; the last, partial batch sits out."""
    order = jax.random.permutation(stream(key, ORDER, epoch), examples)
    steps = examples // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def turned(key: Array, epoch: Array | int, *, examples: int) -> Array:
    """Which images are mirrored in an epoch, bool [examples]: each in every other epoch.

    A coin decides in which. Two epochs then show every image from both sides, where two coins show
    half of them from one side twice (Jordan 2024, arXiv 2404.00498).
    """
    begun = jax.random.bernoulli(stream(key, SIDES, 0), shape=(examples,))
    return begun ^ (epoch % 2 == 1)


def make_train_step(
    update: Update,
    *,
    mean: Array | np.ndarray | None,
    std: Array | np.ndarray | None,
    augment: Mapping[str, Any],
    shares: Sharding,
) -> Step:
    """The step `(state, images, labels, order, key) -> state`: a batch is taken, then `update`.

    images [M, H, W, C] (uint8, or float32 with no mean) and labels [M] are the whole training set,
    order [steps, N] is `epoch_order`'s for the epoch, key the run's. The batch is laid out in
    `shares`.
    """
    options = {name: value for name, value in augment.items() if name != "alternate"}

    def train_step(state: State, images: Array, labels: Array, order: Array, key: Array) -> State:
        epoch, position = jnp.divmod(state.step, order.shape[0])
        batch = jax.lax.with_sharding_constraint(order[position], shares)
        mirrored = None
        if augment.get("alternate"):
            mirrored = turned(key, epoch, examples=labels.size)[batch]
        augment_key = stream(key, AUGMENT, state.step)
        x = data.augment(augment_key, images[batch], mean, std, mirrored=mirrored, **options)
        return update(state, x, labels[batch], key, position == 0)

    return train_step


def make_streamed_step(
    update: Update,
    *,
    mean: Array | np.ndarray,
    std: Array | np.ndarray,
    steps_per_epoch: int,
) -> Step:
    """The step `(state, images, labels, key) -> state` on a batch that comes cut and mirrored.

    images [N, H, W, C] uint8 and labels [N] are the step's own, laid out in shares.
    """

    def train_step(state: State, images: Array, labels: Array, key: Array) -> State:
        x = data.normalise(images, mean, std)
        return update(state, x, labels, key, state.step % steps_per_epoch == 0)

    return train_step


def make_many_steps(train_step: Step) -> Step:
    """`(state, images, labels, order, key, count) -> state`: so many steps as one program.

    `order` is that of the first step's epoch; those of the epochs that begin on the way are made
    anew. It is for accelerators: a CPU convolves slowly inside a loop.
    """

    def train_steps(
        state: State, images: Array, labels: Array, order: Array, key: Array, count: Array
    ) -> State:
        per_epoch, batch_size = order.shape

        def shuffled(state: State) -> Array:
            epoch = state.step // per_epoch
            return epoch_order(key, epoch, examples=labels.size, batch_size=batch_size)

        def body(_: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, order = carry
            begins = state.step % per_epoch == 0
            order = jax.lax.cond(begins, shuffled, lambda _: order, state)
            return train_step(state, images, labels, order, key), order

        return jax.lax.fori_loop(0, count, body, (state, order))[0]

    return train_steps


def _count(state: State, loss: Array, missed: Array, first: Array) -> Tally:
    """The tally with one more batch; an epoch's first batch begins it anew."""
    tally = state.tally
    kept = jnp.where(first, 0, 1)
    bad = (tally.bad_step < 0) & ~jnp.isfinite(loss)
    return Tally(
        loss=jnp.where(first, 0.0, tally.loss) + loss * missed.size,
        wrong=tally.wrong * kept + missed.sum(),
        examples=tally.examples * kept + missed.size,
        bad_step=jnp.where(bad, state.step, tally.bad_step),
    )


def make_eval_step(
    model: linen.Module,
    *,
    mean: Array | np.ndarray | None,
    std: Array | np.ndarray | None,
    flip: bool = False,
    shift: bool = False,
) -> Callable[[Any, Array, Array], tuple[Array, Array]]:
    """The step `(variables, images [N, H, W, C], labels [N]) -> (loss, wrong)`, each [N].

    The images are uint8, or float32 with no mean. What is scored are mean logits: with `flip` of an
    image and its mirror image; with `shift` of it in place and moved, by weights 1/2, 1/4, 1/4,
    by a pixel, up and left and down and right (Jordan 2024, arXiv 2404.00498).
    """

    def eval_step(variables: Any, images: Array, labels: Array) -> tuple[Array, Array]:
        views = _views(data.normalise(images, mean, std), flip=flip, shift=shift)
        logits: Any = sum(
            weight * jnp.float32(model.apply(variables, x, train=False)) for weight, x in views
        )
        return cross_entropy(logits, labels, 0.0), wrong(logits, labels)

    return eval_step


def _views(x: Array, *, flip: bool, shift: bool) -> Iterator[tuple[float, Array]]:
    """Each view with its weight; the weights add up to 1."""
    images = [(1.0, x)]
    if shift:
        height, width = x.shape[1:3]
        around = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        images = [(0.5, x), (0.25, around[:, 2:, 2:]), (0.25, around[:, :height, :width])]
    for weight, image in images:
        sides = (image, image[:, :, ::-1])[: 1 + flip]
        yield from ((weight / len(sides), side) for side in sides)
