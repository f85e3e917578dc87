"""What data and bookkeeping cost: an epoch of the training loop against the bare jitted step.

    python scripts/benchmark_overhead.py --config configs/stacked_convs.py:cpu

The bare step is forward, backward and update on one prepared batch that stays on the device. The
loop adds the epoch's shuffle, gathering and augmenting each batch, metrics, progress, and one
checkpoint at the end. Both are compiled before they are timed, and take turns.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from rich.console import Console

from cnnlab import ops, training
from cnnlab.data import Dataset
from cnnlab.evidence import Ablation
from cnnlab.launch import launch
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.environment import environment
from cnnlab.training.evaluate import Score
from cnnlab.training.feed import feed_of
from cnnlab.training.interrupt import Wish
from cnnlab.training.journal import Journal
from cnnlab.training.loop import Loop
from cnnlab.training.program import Program, build_model, compiled, state_and_update
from cnnlab.training.progress import Display
from cnnlab.training.recipe import Recipe
from cnnlab.training.state import State

ARM = flags.DEFINE_string("arm", None, "Which of the config's arms; by name the first if left out.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "How many times each is timed.")
STEPS = flags.DEFINE_integer("steps", 0, "Steps of a round; 0 is an epoch.")


def main(config: Recipe) -> int:
    """Time both in turn and print medians, ratio and machine."""
    ablation = Ablation.from_config(config)
    recipe = ablation.recipe(ARM.value or next(iter(ablation.arms)), seed=0)
    dataset, _ = training.inspect(recipe)
    per_epoch = feed_of(recipe, dataset).examples // recipe.train.batch_size
    steps = STEPS.value or per_epoch
    never = dict.fromkeys(
        ("epochs", "evaluate_epochs", "evaluate_steps", "checkpoint_epochs", "checkpoint_steps"), 0
    )
    no_warmup = {"warmup_epochs": 0.0, "warmup_steps": 0}
    recipe = recipe.override({"train": never | {"steps": steps}, "schedule": no_warmup})
    program = compiled(recipe, dataset)
    works = _bare(recipe, dataset, program, steps), _loop(recipe, dataset, program)
    for work in works:
        _milliseconds(work, program, steps)  # once to warm up
    times = [[_milliseconds(work, program, steps) for work in works] for _ in range(ROUNDS.value)]
    step, whole = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    facts = environment()
    print(
        f"{recipe.arm} on {dataset.title}, batch {recipe.train.batch_size}: "
        f"{steps} steps (an epoch is {per_epoch}), median of {ROUNDS.value} rounds\n"
        f"bare step {step:.2f} ms, loop {whole:.2f} ms a step: {100 * (ratio - 1):+.1f}%\n"
        f"{facts['device']}; JAX {facts['jax']}, Python {facts['python']}"
    )
    return 0


def _bare(
    recipe: Recipe, dataset: Dataset, program: Program, steps: int
) -> Callable[[State], State]:
    batch = recipe.train.batch_size
    x = jax.random.normal(jax.random.key(1), (batch, *dataset.image_shape))
    y = jnp.arange(batch) % dataset.classes
    _, update = state_and_update(recipe, build_model(recipe.model, dataset.classes), program.plan)
    step = jax.jit(ops.using(ops.preferred())(update), donate_argnums=0)
    key, first = jax.random.key(2), jnp.asarray(False)

    def work(state: State) -> State:
        for _ in range(steps):
            state = step(state, x, y, key, first)
        return state

    return work


def _loop(recipe: Recipe, dataset: Dataset, program: Program) -> Callable[[State], State]:
    plan, console = program.plan, Console(quiet=True)

    def work(state: State) -> State:
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(Checkpoints(Path(folder) / "checkpoints")) as checkpoints,
            closing(Journal(Path(folder), 0)) as journal,
            Display(console, "", 0, plan.steps, recipe.train.batch_size) as display,
            program.feed.open(0, range(plan.steps)) as fed,
        ):
            loop = Loop(
                program=program,
                fed=fed,
                key=jax.random.key(0),
                checkpoints=checkpoints,
                journal=journal,
                display=display,
                validate=lambda _: Score(0.0, 0.0),
                wish=Wish(),
            )
            return loop.run(state)

    return work


def _milliseconds(work: Callable[[State], State], program: Program, steps: int) -> float:
    """Time of one step, with the making of the first state left out."""
    state = jax.block_until_ready(program.begin(jax.random.key(0)))
    start = time.perf_counter()
    jax.block_until_ready(work(state))
    return 1000 * (time.perf_counter() - start) / steps


if __name__ == "__main__":
    launch(main)
