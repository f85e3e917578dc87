"""What is done with the average of the weights: it is evaluated, or training goes back to it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from cnnlab.training.recipe import Plan, Recipe

Averaging = Callable[[Any, Any, Array], tuple[Any, Any]]
"""`(fresh, average, step) -> (what training goes on with, the new average)`, after a step."""


def averaging(recipe: Recipe, plan: Plan) -> Averaging | None:
    """What a recipe asks for; None where it keeps no average."""
    if recipe.optimizer.ema_decay:
        return moving_average(recipe.optimizer.ema_decay)
    if recipe.optimizer.lookahead:
        return lookahead(recipe.optimizer.lookahead, plan.steps)
    return None


def moving_average(decay: float) -> Averaging:
    """Of all steps' weights, each step's fading by `decay` a step; training goes on without it."""

    def average_of(fresh: Any, average: Any, step: Array) -> tuple[Any, Any]:
        return fresh, optax.incremental_update(fresh, average, 1 - decay)

    return average_of


def lookahead(period: int, steps: int) -> Averaging:
    """Every so many steps the average moves towards the weights, and training goes on from there.

    What is evaluated is the average: steps after the last of these do not count. It keeps
    0.95^period (s / steps)^3 of itself at step s of a run of `steps`: next to nothing at
    first (Zhang et al. 2019, arXiv 1907.08610, with the growing share of Jordan 2024, arXiv
    2404.00498, sec. 3.4).
    """

    def look(fresh: Any, average: Any, step: Array) -> tuple[Any, Any]:
        taken = step + 1
        kept = 0.95**period * (taken / steps) ** 3
        moved = optax.incremental_update(fresh, average, 1 - kept)
        due = taken % period == 0
        fresh, average = (
            jax.tree.map(lambda new, old: jnp.where(due, new, old), moved, otherwise)
            for otherwise in (fresh, average)
        )
        return fresh, average

    return look
