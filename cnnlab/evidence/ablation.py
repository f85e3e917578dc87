"""An ablation: one recipe, and arms that each override some of it, over several seeds."""

from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from cnnlab.evidence.claim import Claim
from cnnlab.names import unknown
from cnnlab.training import RecipeError, default_recipe
from cnnlab.training.record import METRICS


def blank_config(name: str, preset: str, claim: dict[str, Any]) -> ConfigDict:
    """An unlocked config for `configs/<name>.py` to fill in: a recipe's keys and `arms`.

    `arms` maps each arm's name to what it overrides; `seeds` is their number.
    """
    config = default_recipe().unlock()
    del config.arm, config.seed
    config.name, config.preset, config.seeds = name, preset, 5
    config.claim, config.arms = ConfigDict(claim), ConfigDict()
    return config


@dataclass(frozen=True)
class Ablation:
    """What `configs/<name>.py:<preset>` describes, each arm's recipe written out in full."""

    name: str
    preset: str
    claim: Claim
    arms: dict[str, ConfigDict]
    seeds: int

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Ablation":
        """Read a config: a recipe's keys, and `name`, `preset`, `claim`, `seeds` and `arms`.

        Raises:
            RecipeError: an arm overrides a key that a recipe does not have; the claim does not hold
                together, or speaks of an arm or a metric that there is not; `model.name` is set
                and no arm would use it.
        """
        try:
            claim = Claim.from_config(config.claim)
            claim.check_arms(config.arms)
        except ValueError as error:
            raise RecipeError(f"claim: {error}") from error
        if claim.metric not in METRICS:
            raise RecipeError(unknown("claim.metric", claim.metric, METRICS))
        if config.model.name and all(
            "name" in arm.get("model", {}) for arm in config.arms.values()
        ):
            raise RecipeError(
                f"model.name = {config.model.name!r} would change nothing: every arm has a network "
                f"of its own; set arms.<arm>.model.name, <arm> one of {', '.join(config.arms)}"
            )
        arms = {name: _override(config, name) for name in config.arms}
        if config.seeds < 1:
            raise RecipeError(f"seeds = {config.seeds} must be at least 1")
        return cls(config.name, config.preset, claim, arms, config.seeds)

    def recipes(self) -> list[ConfigDict]:
        """Every run's recipe, seed by seed, so that a sweep cut short has all arms."""
        return [self.recipe(arm, seed) for seed in range(self.seeds) for arm in self.arms]

    def recipe(self, arm: str, seed: int) -> ConfigDict:
        """One run's recipe.

        Raises:
            RecipeError: no such arm; says the arms there are and the nearest.
        """
        if arm not in self.arms:
            raise RecipeError(unknown("arm", arm, tuple(self.arms)))
        recipe = self.arms[arm].copy_and_resolve_references()
        recipe.seed = seed
        return recipe


def _override(config: ConfigDict, arm: str) -> ConfigDict:
    recipe = default_recipe()
    recipe.model.options.unlock()  # they are the network's own, and checked when it is made
    try:
        recipe.update({key: config[key] for key in recipe if key in config})
        recipe.arm = arm
        recipe.update(config.arms[arm])
    except (KeyError, AttributeError, TypeError) as error:
        reason: Any = error.args[0] if error.args else error
        raise RecipeError(f"arm {arm!r}: {reason}") from error
    return recipe
