"""An ablation: one recipe, and arms that each override some of it, over several seeds."""

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cnnlab.config_file import NoPreset, described
from cnnlab.errors import Mistake, unknown
from cnnlab.evidence.claim import Claim
from cnnlab.files import BadFile, Format, inside
from cnnlab.training import Recipe, RecipeError
from cnnlab.training.probes import metrics_of

Fill = Callable[[ConfigDict], None]

SELECTION_SEED = 1000
"""The seed of the runs by which learning rates are chosen: none of a table's, which are less."""


_TEXT = {"type": "string"}
_COMPARISON = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("treatment", "expect", "question", "metric"), _TEXT),
        "baseline": {"type": ["string", "number"]},
        "margin": {"type": ["number", "null"]},
        "paper": {"type": ["object", "null"], "additionalProperties": _TEXT},
        "beyond": {"type": ["array", "null"], "items": _TEXT},
    },
}
_CLAIM = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("id", "statement", "source", "metric", "caveats"), _TEXT),
        "comparisons": {"type": "array", "items": _COMPARISON},
    },
}
"""Types of a claim, in a schema."""


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
        NoPreset: says the presets there are and the nearest.
    """
    if preset not in presets:
        raise NoPreset(unknown("preset", preset, tuple(presets)))
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
            BadName: no folder can be called like the ablation or its preset.
            RecipeError: a key that is none or of another type; an arm overrides a key that a recipe
                does not have; the claim does not hold together, or speaks of an arm or a metric
                that there is not; `model.name` is set and no arm would use it; `rates` are given
                and an arm has a rate of its own.
        """
        _check_types(config)
        inside(Path(), config.name, config.preset)
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

    def home(self, root: Path) -> Path:
        """The folder of all that there is of it under `root`."""
        return inside(root, self.name)

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
        NoPreset: it does not have the preset.
        BadFile: running it fails, with the line, or what it describes does not hold together.
    """
    found = described(config, preset)
    try:
        return Ablation.from_config(found)
    except Mistake as error:
        raise BadFile(f"{config}: {error}") from error


def load_ablations(configs: Path, preset: str) -> list[Ablation]:
    """The ablations of all files in `configs` that have the preset, by their claims' ids.

    Raises:
        BadFile: as `load_ablation`.
    """
    found = []
    for path in configs.glob("*.py"):
        with suppress(NoPreset):
            found.append(load_ablation(path, preset))
    return sorted(found, key=lambda ablation: ablation.claim.place)


def _check_types(config: object) -> None:
    if not isinstance(config, ConfigDict):
        raise RecipeError(f"a config must be a ConfigDict, not a {type(config).__name__}")
    try:
        _format().check(config.to_dict(), "config")
    except BadFile as error:
        raise RecipeError(error) from error


@functools.cache
def _format() -> Format:
    """What a config holds: all keys of a blank one, of its types; a claim's keys `Claim` knows."""
    blank = blank_config("", "", {}).to_dict() | {"rates": (0.1,), "order": ("",)}
    parts = {key: {"type": "object"} for key, value in blank.items() if isinstance(value, dict)}
    arms = {"type": "object", "additionalProperties": {"type": "object", "properties": parts}}
    schema = Format.like(blank).schema
    own = {"claim": _CLAIM, "arms": arms}
    return Format(schema | {"properties": schema["properties"] | own, "required": list(blank)})


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


def _checked_seeds(seeds: int) -> int:
    if not 1 <= seeds <= SELECTION_SEED:
        raise RecipeError(f"seeds = {seeds} must be from 1 to {SELECTION_SEED}")
    return seeds


def _checked_rates(rates: Iterable[float]) -> tuple[float, ...]:
    """The rates as a recipe takes them, each once.

    Raises:
        RecipeError: one that a recipe does not take, is 0, or is there twice.
    """
    checked = tuple(
        Recipe().override({"optimizer.learning_rate": rate}).optimizer.learning_rate
        for rate in rates
    )
    if 0.0 in checked or len(set(checked)) < len(checked):
        raise RecipeError(f"rates = {checked} must be positive and differ")
    return checked
