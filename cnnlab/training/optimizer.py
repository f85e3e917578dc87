"""Optimiser and learning-rate schedule from a recipe; Optax does the arithmetic."""

from typing import Any

import jax
import optax

from cnnlab.training.recipe import Plan, Recipe


def learning_rate(recipe: Recipe, plan: Plan) -> optax.Schedule:
    """The rate at each step: the warm-up's, then the schedule to the last step.

    A warm-up is linear from `start` of the peak, or constant where `warmup_rate` gives its rate (He
    et al. 2015, sec. 4.2, for 110 layers). "cosine" and "linear" end at `end` of the peak; "step"
    multiplies by `factor` at each milestone.
    """
    peak, warmup = recipe.optimizer.learning_rate, plan.warmup
    rest, end = plan.steps - warmup, recipe.schedule.end
    match recipe.schedule.name:
        case "cosine":
            after = optax.cosine_decay_schedule(peak, rest, alpha=end)
        case "linear":
            after = optax.linear_schedule(peak, end * peak, rest)
        case _:
            drops = [round(part * plan.steps) - warmup for part in recipe.schedule.milestones]
            factors = {step: recipe.schedule.factor ** drops.count(step) for step in drops}
            after = optax.piecewise_constant_schedule(peak, factors)
    if warmup == 0:
        return after
    low, start = recipe.schedule.warmup_rate, recipe.schedule.start
    before = (
        optax.constant_schedule(low) if low else optax.linear_schedule(start * peak, peak, warmup)
    )
    return optax.join_schedules([before, after], [warmup])


def optimizer(recipe: Recipe, plan: Plan) -> optax.GradientTransformation:
    """SGD with momentum (weight decay added to the gradient) or AdamW (decoupled).

    What either does to the biases of norms is done `norm_bias_factor` times over.
    """
    options = recipe.optimizer
    if options.norm_bias_factor == 1:
        return _descent(recipe, plan)
    more = optax.scale(options.norm_bias_factor)
    return optax.chain(_descent(recipe, plan), optax.masked(more, norm_biases))


def _descent(recipe: Recipe, plan: Plan) -> optax.GradientTransformation:
    rate, options = learning_rate(recipe, plan), recipe.optimizer
    if options.name == "adamw":
        return optax.adamw(
            rate, b1=options.momentum, weight_decay=options.weight_decay, mask=decay_mask
        )
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, decay_mask),
        optax.sgd(rate, momentum=options.momentum, nesterov=options.nesterov),
    )


def norm_biases(params: Any) -> Any:
    """True for the biases of norms, the layers with bn in their names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "bias" and "bn" in path[-2].key, params
    )


def decay_mask(params: Any) -> Any:
    """True for kernels, the only leaves that decay: biases and a norm's scale do not."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
