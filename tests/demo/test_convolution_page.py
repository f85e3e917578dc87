import re

import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import demo, geometry, ops

NOTES = {"size": 5, "depth": 3, "filters": 2, "kernel": 3, "stride": 2, "padding": 1}
OTHERS = [
    {"size": 7, "depth": 2, "filters": 4, "kernel": 3, "stride": 1, "padding": 0},
    {"size": 10, "depth": 4, "filters": 1, "kernel": 4, "stride": 3, "padding": 3},
    {"size": 1, "depth": 1, "filters": 3, "kernel": 7, "stride": 5, "padding": 3},
    {"size": 8, "depth": 3, "filters": 2, "kernel": 2, "stride": 2, "padding": 2},
]
LIMITS = {"W": (1, 10), "F": (1, 7), "S": (1, 5), "P": (0, 3)}


def volumes(opened, settings):
    """Input without its padding [H, W, C], filters [F, F, C, K] and biases [K], as shown."""
    P, K, C = (settings[name] for name in ("padding", "filters", "depth"))
    x = opened.numbers("#input")
    inner = x[:, P : x.shape[1] - P, P : x.shape[2] - P]
    np.testing.assert_array_equal(np.pad(inner, ((0, 0), (P, P), (P, P))), x)
    w = np.stack(
        [opened.numbers(f".filter:nth-child({k + 1}) .slice:not(:last-child)") for k in range(K)]
    )
    b = opened.numbers(".filter .slice:last-child")[:, 0, 0]
    assert (inner.shape[0], w.shape[:2], b.shape) == (C, (K, C), (K,))
    return np.moveaxis(inner, 0, -1), np.transpose(w, (2, 3, 1, 0)), b


def convolved(volumes, settings):
    """[K, H', W'] by `ops.conv2d`."""
    x, w, b = (jnp.asarray(volume, jnp.float32) for volume in volumes)
    y = ops.conv2d(
        x[None], w, b, stride=settings["stride"], padding=settings["padding"], fit="error"
    )
    return np.moveaxis(np.asarray(y[0]), -1, 0)


class TestNumbers:
    def test_at_the_start(self, still):
        opened = still(demo.convolution())
        x, w, b = shown = volumes(opened, NOTES)
        assert (x.shape, w.shape) == ((5, 5, 3), (3, 3, 3, 2))
        np.testing.assert_array_equal(opened.numbers("#output"), convolved(shown, NOTES))
        assert [set(np.unique(numbers)) for numbers in (x, w)] == [{0, 1, 2}, {-1, 0, 1}]
        assert set(b) <= {0, 1}

    def test_typed_into_the_page(self, still, embedded):
        """Any settings show what `ops.conv2d` gives, and what a page made for them shows."""
        opened = still(demo.convolution())
        for settings in (*OTHERS, NOTES):
            opened.type(**settings)
            output = opened.numbers("#output")
            np.testing.assert_array_equal(output, convolved(volumes(opened, settings), settings))
            made = embedded(demo.convolution(**settings))["output"]
            np.testing.assert_array_equal(output, made)
            side = output.shape[1]
            said = f"the output is {side}x{side}x{settings['filters']}, made with "
            assert said in opened.text("#formula")
        assert opened.text("#formula") == (
            "(W - F + 2P)/S + 1 = (5 - 3 + 2·1)/2 + 1 = 3: "
            "the output is 3x3x2, made with 2·(3·3·3) = 54 weights and 2 biases."
        )


class TestWrittenOut:
    def test_every_cell(self, still):
        """Clicked, a number of the output is its factors, their sums and the bias."""
        opened = still(demo.convolution())
        x, w, b = volumes(opened, NOTES)
        x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        for k, i, j in ((0, 0, 0), (0, 1, 2), (1, 2, 1)):
            opened.page.click(f"[data-at='{k} {i} {j}']")
            assert opened.at() == (k, i, j)
            assert max(opened.window_is_off(kernel=3, stride=2)) < 1
            assert opened.page.locator(".filter.active h2").inner_text().startswith(f"Filter W{k}")
            seen = x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            pairs = re.findall(r"(-?\d+)·\(?(-?\d+)\)?", opened.text("#terms"))
            met = np.stack([seen, w[..., k]], axis=-1).transpose(2, 0, 1, 3).reshape(-1, 2)
            np.testing.assert_array_equal(np.array(pairs, int), met)
            sums = (seen * w[..., k]).sum((0, 1)).astype(int)
            headings = re.findall(r"x\[:,:,\d] · w\d\[:,:,\d] = (-?\d+)", opened.text("#terms"))
            assert [int(heading) for heading in headings] == list(sums)
            total = opened.text("#total")
            assert total.startswith(f"o[{i},{j},{k}] = {sums[0]} + ")
            addends = total.split(" = ")[1].split(" + ")
            assert [int(addend.strip("()")) for addend in addends] == [*sums, int(b[k])]
            assert int(total.split(" = ")[2]) == sums.sum() + b[k]
            assert int(total.split(" = ")[2]) == opened.numbers("#output")[k, i, j]

    def test_by_the_keyboard(self, still):
        opened = still(demo.convolution())
        walk = {"ArrowRight": (0, 0, 1), "ArrowDown": (0, 1, 1), "ArrowLeft": (0, 1, 0)}
        opened.page.focus("#output [tabindex='0']")
        for key, reached in walk.items():
            opened.page.keyboard.press(key)
            assert opened.at() == reached
        opened.page.keyboard.press("ArrowLeft")
        assert opened.at() == (0, 1, 0)
        for _ in range(2):
            opened.page.keyboard.press("ArrowDown")
        assert opened.at() == (1, 0, 0)
        opened.page.keyboard.press("ArrowUp")
        assert opened.at() == (0, 2, 0)
        assert opened.page.evaluate("document.activeElement.dataset.at") == "0 2 0"
        assert opened.text("#total").startswith("o[2,0,0] = ")
        assert opened.page.locator("#output [tabindex='0']").count() == 1


class TestPlaying:
    @pytest.fixture
    def opened(self, still):
        """With a clock that stands still until it is told to go on."""
        opened = still(demo.convolution())
        opened.page.clock.install()
        return opened

    def test_plays_and_pauses(self, opened):
        clock = opened.page.clock
        clock.run_for(5000)
        assert opened.at() == (0, 0, 0)
        opened.page.click("text=Play")
        assert opened.page.get_attribute("#total", "aria-live") == "off"
        seen = []
        for _ in range(9):
            clock.run_for(1000)
            seen.append(opened.at())
            assert max(opened.window_is_off(kernel=3, stride=2)) < 1
        places = [(k, i, j) for k in range(2) for i in range(3) for j in range(3)]
        assert seen == places[1:10]
        opened.page.click("text=Pause")
        assert opened.page.get_attribute("#total", "aria-live") == "polite"
        clock.run_for(5000)
        assert opened.at() == (1, 0, 0)

    def test_round_and_faster(self, opened):
        opened.page.fill("#speed", "8")
        assert opened.text("#rate") == "8 a second"
        opened.page.click("text=Play")
        opened.page.clock.run_for(22 * 125)
        assert opened.at() == (0, 1, 1)

    def test_steps(self, opened):
        opened.page.click("text=Play")
        opened.page.click("text=Step")
        assert opened.at() == (0, 0, 1)
        opened.page.clock.run_for(5000)
        assert opened.at() == (0, 0, 1)

    def test_space_plays_and_pauses(self, opened):
        for place in ("body", "#output [tabindex='0']"):
            opened.page.locator(place).press(" ")
            assert opened.text("#play") == "Pause"
            opened.page.keyboard.press(" ")
            assert opened.text("#play") == "Play"
        opened.page.locator("#step").press(" ")
        assert (opened.at(), opened.text("#play")) == ((0, 0, 1), "Play")

    def test_a_click_pauses(self, opened):
        opened.page.click("text=Play")
        opened.page.click("[data-at='1 1 1']")
        opened.page.clock.run_for(5000)
        assert opened.at() == (1, 1, 1)

    def test_enter_comes_back_to_the_cell(self, opened):
        opened.page.focus("#output [tabindex='0']")
        opened.page.keyboard.press(" ")
        opened.page.clock.run_for(3000)
        opened.page.keyboard.press("Enter")
        opened.page.clock.run_for(3000)
        assert opened.at() == (0, 0, 0)

    def test_by_itself_unless_little_motion_is_preferred(self, visit, still):
        html = demo.convolution().html
        assert visit(html, reduced_motion="no-preference").inner_text("#play") == "Pause"
        assert still(demo.convolution()).text("#play") == "Play"


MISFITS = [
    (10, 3, 2, 0, "4.5"),
    (5, 3, 3, 1, "2.33333"),
    (2, 7, 2, 1, "-0.5"),
    (9, 6, 5, 3, "2.8"),
    (10, 3, 5, 0, "2.4"),
]


class TestMisfit:
    def test_says_what_would_fit(self, still, offers):
        opened = still(demo.convolution())
        for *values, fraction in MISFITS:
            settings = dict(zip(("size", "kernel", "stride", "padding"), values, strict=True))
            opened.type(**settings)
            said = opened.text("#formula")
            assert f"+ 1 = {fraction}, " in said
            assert said.endswith("it does not fit.")
            with pytest.raises(geometry.DoesNotFit) as error:
                geometry.output_size(settings.pop("size"), **settings)
            buttons = opened.page.locator("#offers button").all_inner_texts()
            assert len(buttons) == len(set(buttons))
            assert set(buttons) == offers(error.value, LIMITS)
            assert opened.page.is_disabled("#play")
            assert not opened.page.is_visible("#written")

    def test_an_offer_is_taken(self, still):
        opened = still(demo.convolution())
        opened.page.clock.install()
        opened.page.click("text=Play")
        opened.type(size=10, padding=0)
        opened.page.clock.run_for(5000)
        assert opened.text("#play") == "Play"
        opened.page.click("text=W = 9")
        settings = NOTES | {"size": 9, "padding": 0}
        assert opened.page.input_value("[name=size]") == "9"
        shown = convolved(volumes(opened, settings), settings)
        np.testing.assert_array_equal(opened.numbers("#output"), shown)
        assert opened.page.locator("#offers button").count() == 0
        assert opened.page.is_enabled("#play")

    def test_no_such_size(self, still):
        opened = still(demo.convolution())
        for typed in ("", "0", "11", "2.5"):
            opened.type(size=5)
            assert opened.page.is_enabled("#step")
            opened.type(size=typed)
            assert opened.text("#formula") == "W must be a whole number from 1 to 10."
            assert opened.page.is_disabled("#step")


class TestPlaces:
    def test_on_a_phone(self, still):
        """Nothing sticks out to the side, whatever is shown, and the window lies on its cells."""
        opened = still(demo.convolution(), viewport={"width": 390, "height": 844})
        for settings in (NOTES, *OTHERS[:3]):
            opened.type(**settings)
            assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
            assert max(opened.window_is_off(settings["kernel"], settings["stride"])) < 1

    def test_one_beside_the_other(self, still):
        """The notes' volumes on a phone too; where they do not fit, the slices of each."""
        opened = still(demo.convolution(), viewport={"width": 390, "height": 844})

        def tops(*names):
            return {opened.page.locator(name).bounding_box()["y"] for name in names}

        slices = [f".filter:first-child .slice:nth-of-type({c})" for c in (1, 2)]
        assert len(tops("#input", "#output")) == 1
        assert len(tops(*slices)) == 2
        opened.type(**OTHERS[0])
        assert len(tops("#input", "#output")) == 2
        assert len(tops(*slices)) == 1

    def test_in_a_notebook(self, visit):
        opened = visit(demo.convolution()._repr_html_(), reduced_motion="reduce")
        frame = opened.frame_locator("iframe")
        frame.locator("#step").click()
        assert frame.locator("[aria-selected=true]").get_attribute("data-at") == "0 0 1"


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"size": 11}, "size must be at most 10, to be readable; got 11"),
            ({"size": 0}, "size must be a whole number, at least 1; got 0"),
            ({"depth": 2.5}, "depth must be a whole number, at least 1; got 2.5"),
            ({"filters": "2"}, "filters must be a whole number, at least 1; got '2'"),
            ({"kernel": 8}, "kernel must be at most 7, to be readable; got 8"),
            ({"stride": True}, "stride must be a whole number, at least 1; got True"),
            ({"padding": -1}, "padding must be a whole number, at least 0; got -1"),
        ],
    )
    def test_refused_before_anything_is_made(self, monkeypatch, settings, said):
        monkeypatch.setattr(ops, "conv2d", None)
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            demo.convolution(**settings)

    def test_misfit_as_geometry_says_it(self, monkeypatch):
        monkeypatch.setattr(ops, "conv2d", None)
        with pytest.raises(geometry.DoesNotFit) as ours:
            demo.convolution(size=10, padding=0)
        with pytest.raises(geometry.DoesNotFit) as theirs:
            geometry.output_size(10, kernel=3, stride=2)
        assert "= 4.5 is not a whole number" in str(ours.value)
        assert str(theirs.value).startswith(str(ours.value))
        assert "fit=" not in str(ours.value)

    def test_with_the_package(self):
        assert cnnlab.demo.convolution is demo.convolution
