import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab import demo, geometry, ops

KINDS = {"max": ops.max_pool, "avg": ops.avg_pool, "l2": ops.l2_pool}
SETTINGS = [
    {"size": 4, "depth": 1, "kernel": 2, "stride": 2},
    {"size": 7, "depth": 3, "kernel": 3, "stride": 2},
    {"size": 10, "depth": 2, "kernel": 7, "stride": 1},
    {"size": 9, "depth": 4, "kernel": 1, "stride": 4},
]
LIMITS = {"W": (1, 10), "F": (1, 7), "S": (1, 5)}


def pooled(x, kind, settings):
    """[C, H', W'] of x [C, H, W] by `ops`."""
    seen = jnp.asarray(np.moveaxis(x, 0, -1)[None], jnp.float32)
    y = KINDS[kind](seen, kernel=settings["kernel"], stride=settings["stride"], fit="error")
    return np.moveaxis(np.asarray(y[0], float), -1, 0)


class TestNumbers:
    @pytest.mark.parametrize("kind", KINDS)
    def test_at_the_start(self, still, kind):
        settings = SETTINGS[1]
        opened = still(demo.pooling(**settings, kind=kind))
        x = opened.numbers("#input")
        assert x.shape == (3, 7, 7)
        assert (x.min(), x.max()) == (0, 9)
        assert opened.page.input_value("[name=kind]") == kind
        np.testing.assert_allclose(
            opened.numbers("#output"), pooled(x, kind, settings), atol=0.0051
        )

    def test_typed_into_the_page(self, still, embedded):
        opened = still(demo.pooling())
        for settings, kind in zip(SETTINGS, ("l2", "avg", "l2", "max"), strict=True):
            opened.type(**settings)
            opened.page.select_option("[name=kind]", kind)
            x, y = opened.numbers("#input"), opened.numbers("#output")
            assert x.shape == (settings["depth"], settings["size"], settings["size"])
            np.testing.assert_allclose(y, pooled(x, kind, settings), atol=0.0051)
            made = embedded(demo.pooling(**settings, kind=kind))["output"]
            np.testing.assert_allclose(y, made, atol=0.0051)
            side = y.shape[1]
            assert opened.text("#formula").endswith(
                f"/{settings['stride']} + 1 = {side}: "
                f"the output is {side}x{side}x{settings['depth']}, made with no weights."
            )


class TestWrittenOut:
    @pytest.mark.parametrize(
        ("kind", "form"),
        [("max", r"max\((.*)\) = "), ("avg", r"\((.*)\)/9 [=≈] "), ("l2", r"√\((.*)\) [=≈] ")],
    )
    def test_the_window_and_its_number(self, still, kind, form):
        opened = still(demo.pooling(**SETTINGS[1], kind=kind))
        x, y = opened.numbers("#input"), opened.numbers("#output")
        opened.page.click("[data-at='1 2 0']")
        seen = x[1, 4:7, 0:3]
        assert opened.window_is_off(kernel=3, stride=2)[0::2] == [None, None]
        assert opened.window_is_off(kernel=3, stride=2)[1] < 1
        numbers, result = re.fullmatch(rf"o\[2,0,1] = {form}(.*)", opened.text("#total")).groups()
        assert [int(text.strip("²")) for text in re.split(r", | \+ ", numbers)] == list(seen.flat)
        assert float(result) == y[1, 2, 0]
        np.testing.assert_array_equal(opened.numbers("#terms"), [seen])
        winners = opened.page.locator("#terms .winner").all_inner_texts()
        assert [float(text) for text in winners] == (
            [seen.max()] * int((seen == seen.max()).sum()) if kind == "max" else []
        )

    def test_rounded_is_not_called_equal(self, still):
        """The mean of four digits has two decimals at most, that of nine may go on."""
        opened = still(demo.pooling(kind="avg"))
        assert "/4 = " in opened.text("#total")
        opened.type(size=9, kernel=3, stride=3)
        for k, i, j in np.ndindex(1, 3, 3):
            opened.page.click(f"[data-at='{k} {i} {j}']")
            total = opened.numbers("#terms").sum()
            assert ("/9 = " if total % 9 == 0 else "/9 ≈ ") in opened.text("#total")


def test_plays_pauses_and_steps(still):
    opened = still(demo.pooling())
    opened.page.clock.install()
    opened.page.click("text=Play")
    opened.page.clock.run_for(3000)
    assert opened.at() == (0, 1, 1)
    assert max(opened.window_is_off(kernel=2, stride=2)) < 1
    opened.page.click("text=Pause")
    opened.page.clock.run_for(3000)
    assert opened.at() == (0, 1, 1)
    opened.page.click("text=Step")
    assert opened.at() == (0, 0, 0)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "result"), [(10, 3, 2, "4.5"), (2, 5, 2, "-0.5")]
)
def test_misfit(still, offers, size, kernel, stride, result):
    opened = still(demo.pooling())
    opened.type(size=size, kernel=kernel, stride=stride)
    assert opened.text("#formula").startswith(
        f"(W - F)/S + 1 = ({size} - {kernel})/{stride} + 1 = {result}, "
    )
    with pytest.raises(geometry.DoesNotFit) as error:
        geometry.output_size(size, kernel=kernel, stride=stride)
    buttons = opened.page.locator("#offers button").all_inner_texts()
    assert set(buttons) == offers(error.value, LIMITS)


def test_on_a_phone(still):
    opened = still(demo.pooling(), viewport={"width": 390, "height": 844})
    opened.page.select_option("[name=kind]", "l2")
    for settings in SETTINGS[:3]:
        opened.type(**settings)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
        assert opened.window_is_off(settings["kernel"], settings["stride"])[0] < 1


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"kind": "mean"}, "unknown kind: 'mean'; choices: max, avg, l2"),
            ({"kind": "Max"}, "did you mean 'max'?"),
            ({"size": 11}, "size must be at most 10, to be readable; got 11"),
            ({"depth": 0}, "depth must be a whole number, at least 1; got 0"),
            ({"size": 5}, "(5-2+2*0)/2+1 = 2.5 is not a whole number"),
        ],
    )
    def test_refused_before_anything_is_made(self, monkeypatch, settings, said):
        monkeypatch.setattr(sys.modules["cnnlab.demo.pooling"], "render", None)
        with pytest.raises(ValueError, match=re.escape(said)):
            demo.pooling(**settings)
