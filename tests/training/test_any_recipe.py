"""Whatever a recipe is told: it holds what was said, or refuses it in a line that names the key."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from searches import search, strength

from cnnlab import training
from cnnlab.errors import Mistake
from cnnlab.training.recipe import Plan, Recipe, check_recipe, identity, plan

PATHS = [path for path, *_ in Recipe().described()]
NUMBERS = [0, -0.0, 1, -1, 2, 0.5, 1.0, 1e-300, 1e300, 2**31, 2**32, 2**63, 10**400, math.nan,
           math.inf, -math.inf, True, False]  # fmt: skip
TEXTS = ["", "digits", "cifar10", "sgd", "adamw", "step", "linear", "chance", "bfloat16", "gcn_zca",
         "INPUT -> FC", "resnet20", "../x", "\0", "a" * 300]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(max_size=5),
    st.integers(-5, 300),
    st.floats(0, 1),
    st.none(),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
)
CHANGES = st.dictionaries(
    st.one_of(st.sampled_from(PATHS), st.sampled_from(PATHS), st.text(max_size=8)),
    VALUES,
    max_size=6,
)
# So that a good part of what is tried comes as far as a plan.
LIKELY = st.fixed_dictionaries(
    {
        "train.steps": st.integers(0, 2000),
        "train.batch_size": st.integers(1, 1300),
        "schedule.warmup_steps": st.integers(0, 50),
        "optimizer.lookahead": st.integers(0, 3),
    }
)


def attempt(make: Callable[[], Any]) -> tuple[Any, str]:
    """What is made, or why it is refused; any other error goes up."""
    try:
        return make(), ""
    except Mistake as error:
        return None, str(error)


@strength(some=400, many=60_000)
def test_a_recipe_holds_what_is_said_or_names_the_key(examples: int) -> None:
    def planned(recipe: Recipe) -> Plan:
        check_recipe(recipe)
        return plan(recipe, 1257)

    def check(likely: dict[str, Any], changes: dict[str, Any]) -> None:
        recipe, said = attempt(lambda: Recipe().override(likely).override(changes))
        if recipe is None:
            keys = ("unknown key", *filter(None, changes), *(repr(key)[1:-1] for key in changes))
            assert any(key in said for key in keys)
            assert len(said) < 1500
            return
        written = json.loads(json.dumps(identity(recipe), allow_nan=False))
        assert identity(Recipe().override(written)) == written
        found, said = attempt(lambda: planned(recipe))
        if found is None:
            assert 0 < len(said) < 1500
            return
        assert 0 <= found.warmup < found.steps < 2**31
        for step in range(0, found.steps, max(1, found.steps // 50)):
            assert 1 <= found.until_report(step) <= found.log_every

    search(examples, check, LIKELY, CHANGES)


@strength(some=40, many=1500)
def test_nothing_is_made_of_a_recipe_that_is_refused(examples: int, tmp_path: Path) -> None:
    """`inspect` refuses by a `Mistake`, whatever passed the keys one by one."""
    small = {"model.name": "INPUT -> CONV3-2 -> BN -> GAP -> FC", "train.steps": 3}

    def check(likely: dict[str, Any], changes: dict[str, Any]) -> None:
        here = {"data.directory": str(tmp_path)}
        every = (small, likely, changes, here)
        recipe, _ = attempt(lambda: functools.reduce(Recipe.override, every, Recipe()))
        if recipe is not None:
            _, said = attempt(lambda: training.inspect(recipe))
            assert len(said) < 20_000
        assert list(tmp_path.iterdir()) == []

    search(examples, check, LIKELY, CHANGES)


@pytest.mark.parametrize("path", PATHS)
def test_every_key_has_a_meaning_and_a_default_in_its_range(path: str) -> None:
    ((value, kind, key),) = [found for each, *found in Recipe().described() if each == path]
    assert key.meaning
    if kind in ("a number", "a whole number"):
        assert key.holds(value)
