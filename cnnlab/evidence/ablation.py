"""An ablation: one recipe, and arms that each override some of it, over several seeds."""

import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cnnlab.errors import unknown
from cnnlab.evidence.claim import Claim
from cnnlab.training import Recipe, RecipeError
from cnnlab.training.probes import metrics_of

Fill = Callable[[ConfigDict], None]

SELECTION_SEED = 1000
"""The seed of the runs by which learning rates are chosen: none of a table's, which are less."""


def blank_config(name: str, preset: str, claim: dict[str, Any]) -> ConfigDict:
    """An unlocked config for `configs/<name>.py` to fill in: a recipe's keys and `arms`.

    `arms` maps each arm's name to what it overrides; `seeds` is their number. Each arm's learning
    rate is chosen from `rates`, if there are any; see `selection`. `order` names the arms as tables
    are to show them, by default in the order in which the claim's comparisons first do.
    """
    config = ConfigDict(Recipe().to_dict())
    del config.arm, config.seed
    config.name, config.preset, config.seeds = name, preset, 5
    config.rates, config.order = (), ()
    config.claim, config.arms = ConfigDict(claim), ConfigDict()
    return config


def preset_of(presets: Mapping[str, Fill], preset: str) -> Fill:
    """What fills in a config under a preset.

    Raises:
        ValueError: no such preset; says those there are and the nearest.
    """
    if preset not in presets:
        raise ValueError(unknown("preset", preset, tuple(presets)))
    return presets[preset]


@dataclass(frozen=True)
class Ablation:
    """What `configs/<name>.py:<preset>` describes, each arm's recipe written out in full.

    Where there are `rates`, each arm's learning rate is one of them: `selection` finds which.
    """

    name: str
    preset: str
    claim: Claim
    arms: dict[str, Recipe]
    seeds: int
    rates: tuple[float, ...] = ()

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Ablation":
        """Read a config: a recipe's keys, and those that `blank_config` adds.

        Raises:
            RecipeError: an arm overrides a key that a recipe does not have; the claim does not hold
                together, or speaks of an arm or a metric that there is not; `model.name` is set
                and no arm would use it; `rates` are given and an arm has a rate of its own.
        """
        try:
            claim = Claim.from_config(config.claim)
            claim.check_arms(config.arms)
        except ValueError as error:
            raise RecipeError(f"claim: {error}") from error
        _check_used(config)
        arms = {name: _override(config, name) for name in _ordered(config, claim)}
        _check_metrics(claim, arms)
        seeds, rates = _checked_seeds(config.seeds), _checked_rates(config.rates)
        return cls(config.name, config.preset, claim, arms, seeds, rates)

    def recipes(self) -> list[Recipe]:
        """Every run's recipe, seed by seed, so that a sweep cut short has all arms."""
        return [self.recipe(arm, seed) for seed in range(self.seeds) for arm in self.arms]

    def recipe(self, arm: str, seed: int) -> Recipe:
        """One run's recipe.

        Raises:
            RecipeError: no such arm; says the arms there are and the nearest; or no such seed.
        """
        if arm not in self.arms:
            raise RecipeError(unknown("arm", arm, tuple(self.arms)))
        return self.arms[arm].override({"seed": seed})


def load_ablation(config: Path, preset: str) -> Ablation:
    """The ablation that a config file describes under a preset.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has no such preset, or what it describes does not hold together.
    """
    return Ablation.from_config(runpy.run_path(str(config))["get_config"](preset))


def load_ablations(configs: Path, preset: str) -> list[Ablation]:
    """The ablations of all files in `configs` that have the preset, by their claims' ids.

    Raises:
        ValueError: what a file describes does not hold together.
    """
    found = []
    for path in configs.glob("*.py"):
        try:
            found.append(load_ablation(path, preset))
        except ValueError as error:
            # As every config words it that is asked for a preset it does not have.
            if not str(error).startswith(f"unknown preset: {preset!r}"):
                raise
    return sorted(found, key=lambda ablation: ablation.claim.place)


def _check_used(config: ConfigDict) -> None:
    """Refuse what would change nothing."""
    own_network = ["name" in arm.get("model", {}) for arm in config.arms.values()]
    if config.model.name and all(own_network):
        raise RecipeError(
            f"model.name = {config.model.name!r} would change nothing: every arm has a network "
            f"of its own; set arms.<arm>.model.name, <arm> one of {', '.join(config.arms)}"
        )
    rate = config.optimizer.learning_rate
    if config.rates and rate != Recipe().optimizer.learning_rate:
        raise RecipeError(
            f"optimizer.learning_rate = {rate} would change nothing: it is chosen from rates = "
            f"{tuple(config.rates)}"
        )
    for name, arm in config.arms.items():
        for key in ("arm", "seed"):
            if key in arm:
                raise RecipeError(
                    f"arm {name!r}: {key} = {arm[key]!r} would change nothing: a run has its own"
                )
        if config.rates and "learning_rate" in arm.get("optimizer", {}):
            raise RecipeError(
                f"arm {name!r}: optimizer.learning_rate = {arm.optimizer.learning_rate} would "
                f"change nothing: it is chosen from rates = {tuple(config.rates)}"
            )


def _ordered(config: ConfigDict, claim: Claim) -> list[str]:
    """The arms' names; a ConfigDict itself forgets in which order it was given them."""
    for name in config.order:
        if name not in config.arms:
            raise RecipeError(unknown("arm in order", name, tuple(config.arms)))
    return list(dict.fromkeys([*config.order, *claim.arms, *config.arms]))


def _check_metrics(claim: Claim, arms: dict[str, Recipe]) -> None:
    for comparison in claim.comparisons:
        for arm in comparison.arms:
            metric, choices = claim.metric_of(comparison), metrics_of(arms[arm])
            if metric not in choices:
                raise RecipeError(f"arm {arm!r}: " + unknown("claim.metric", metric, choices))


def _override(config: ConfigDict, arm: str) -> Recipe:
    shared = {key: value for key, value in _plain(config).items() if key in _SECTIONS}
    try:
        return Recipe().override(shared | {"arm": arm}).override(_plain(config.arms[arm]))
    except RecipeError as error:
        raise RecipeError(f"arm {arm!r}: {error}") from error


_SECTIONS = set(Recipe().to_dict()) - {"arm", "seed"}


def _plain(config: Any) -> Any:
    """What a ConfigDict holds, tuples as they are."""
    return config.to_dict() if isinstance(config, ConfigDict) else config


def _checked_seeds(seeds: Any) -> int:
    right = isinstance(seeds, int) and not isinstance(seeds, bool)
    if not right or not 1 <= seeds <= SELECTION_SEED:
        raise RecipeError(f"seeds = {seeds!r} must be from 1 to {SELECTION_SEED}")
    return int(seeds)


def _checked_rates(rates: Any) -> tuple[float, ...]:
    """The rates as a recipe takes them, each once.

    Raises:
        RecipeError: one that a recipe does not take, is 0, or is there twice.
    """
    if isinstance(rates, str) or not isinstance(rates, (tuple, list)):
        raise RecipeError(f"rates = {rates!r} must be numbers, such as (0.05, 0.1)")
    checked = tuple(
        Recipe().override({"optimizer.learning_rate": rate}).optimizer.learning_rate
        for rate in rates
    )
    if 0.0 in checked or len(set(checked)) < len(checked):
        raise RecipeError(f"rates = {checked} must be positive and differ")
    return checked
