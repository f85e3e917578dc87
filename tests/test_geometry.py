"""Sizes, padding and receptive fields against the notes and against counting."""

import math
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlab import geometry
from cnnlab.geometry import DoesNotFit, ReceptiveField, output_size, receptive_field, same_padding

axes = st.fixed_dictionaries(
    {
        "kernel": st.integers(1, 7),
        "stride": st.integers(1, 5),
        "padding": st.integers(0, 4),
        "dilation": st.integers(1, 3),
    }
)


def count_windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How often a window, moved along by hand, fits."""
    taps = range(0, dilation * kernel, dilation)
    start, windows = -padding, 0
    while start + taps[-1] < size + padding:
        windows += 1
        start += stride
    return windows


def fits_exactly(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether the last window that fits ends on the last pixel."""
    if 0 in (size, kernel, stride):
        return False
    windows = count_windows(size, kernel, stride, padding, dilation)
    last_tap = (windows - 1) * stride - padding + dilation * (kernel - 1)
    return windows > 0 and last_tap == size + padding - 1


class TestOutputSize:
    @pytest.mark.parametrize(
        ("size", "kernel", "stride", "padding", "expected"),
        [
            (7, 3, 1, 0, 5),  # N0, "Spatial arrangement"
            (7, 3, 2, 0, 3),
            (5, 3, 2, 1, 3),  # N0, "Convolution Demo"
            (11, 5, 2, 0, 4),  # N0, "Case study"
            (32, 5, 1, 2, 32),  # N1
            (32, 5, 1, 0, 28),
            (32, 7, 1, 0, 26),
            (32, 2, 2, 0, 16),  # N0, pooling
            (224, 2, 2, 0, 112),
            (227, 11, 4, 0, 55),  # N0, the AlexNet example
        ],
    )
    def test_sizes_of_the_notes(self, size, kernel, stride, padding, expected):
        assert output_size(size, kernel=kernel, stride=stride, padding=padding) == expected

    def test_the_setting_that_does_not_fit(self):
        with pytest.raises(DoesNotFit) as caught:
            output_size(10, kernel=3, stride=2, padding=0)
        message = str(caught.value)
        assert "(10-3+2*0)/2+1 = 4.5" in message
        assert "stride 1 or 7" in message
        assert "kernel 2 or 4" in message
        assert "input size 9 or 11" in message
        assert "padding" not in message.split("Nearest")[1]  # 2P never cures an odd rest
        assert 'fit="crop" (4) or fit="pad" (5)' in message
        assert output_size(10, kernel=3, stride=2, padding=0, fit="crop") == 4
        assert output_size(10, kernel=3, stride=2, padding=0, fit="pad") == 5

    def test_slip_of_the_note(self):
        """N1 counts 11 where its own formula gives 11.5: 11 is what cropping leaves."""
        with pytest.raises(DoesNotFit, match=r"11\.5"):
            output_size(26, kernel=5, stride=2)
        assert output_size(26, kernel=5, stride=2, fit="crop") == 11

    def test_overlapping_pooling_does_not_fit_32(self):
        with pytest.raises(DoesNotFit, match=r"15\.5"):
            output_size(32, kernel=3, stride=2)

    @settings(deadline=None)
    @given(st.integers(1, 40), axes, st.sampled_from(["error", "crop"]))
    def test_counts_windows(self, size, axis, fit):
        expected = count_windows(size, **axis)
        span = size + 2 * axis["padding"] - axis["dilation"] * (axis["kernel"] - 1) - 1
        if expected == 0 or (fit == "error" and span % axis["stride"]):
            with pytest.raises(DoesNotFit):
                output_size(size, **axis, fit=fit)
        else:
            assert output_size(size, **axis, fit=fit) == expected

    @settings(deadline=None)
    @given(st.integers(1, 40), axes, st.sampled_from(["crop", "pad"]))
    def test_padding_that_is_applied_fits(self, size, axis, fit):
        assume(fit == "pad" or count_windows(size, **axis))
        low, high = geometry.fit_padding(size, **axis, fit=fit)
        assert low == axis["padding"]
        assert high >= axis["padding"]
        reach = axis["dilation"] * (axis["kernel"] - 1) + 1
        spare = size + low + high - reach
        assert spare // axis["stride"] + 1 == output_size(size, **axis, fit=fit)
        if fit == "crop":
            assert high == low
        else:
            assert spare % axis["stride"] == 0
            assert high - low < axis["stride"] or spare == 0

    @settings(deadline=None)
    @given(st.integers(1, 40), axes)
    def test_offers_are_the_nearest_that_fit(self, size, axis):
        setting = {"size": size, **axis}
        assume(not fits_exactly(**setting))
        with pytest.raises(DoesNotFit) as caught:
            output_size(size, **axis)
        offers = str(caught.value).split("one changed at a time: ")[1].replace("input ", "")
        offered = {
            name: [int(value) for value in values.split(" or ")]
            for name, values in re.findall(
                r"(size|stride|padding|kernel) (\d+(?: or \d+)?)", offers
            )
        }
        for name in ("size", "stride", "padding", "kernel"):
            fitting = [n for n in range(200) if fits_exactly(**{**setting, name: n})]
            below = [n for n in fitting if n < setting[name]][-1:]
            above = [n for n in fitting if n > setting[name]][:1]
            assert offered.get(name, []) == below + above

    def test_filter_larger_than_the_input(self):
        for fit in ("error", "crop"):
            with pytest.raises(DoesNotFit) as caught:
                output_size(5, kernel=7, fit=fit)
            message = str(caught.value)
            assert "(5-7+2*0)/1+1 = -1" in message
            assert "padding 1, kernel 5, input size 7" in message
            assert 'fit="pad" (1)' in message
        assert output_size(5, kernel=7, fit="pad") == 1
        assert geometry.fit_padding(5, kernel=7, stride=2, padding=0, fit="pad") == (0, 2)

    def test_dilated_filter_is_named_as_such(self):
        with pytest.raises(DoesNotFit, match=r"F = 2\*\(3-1\)\+1 = 5 as dilated"):
            output_size(10, kernel=3, stride=2, dilation=2)

    @pytest.mark.parametrize("name", ["kernel", "stride", "padding", "dilation", "size"])
    @pytest.mark.parametrize("value", [-1, 1.0, "2", None, True])
    def test_bad_numbers(self, name, value):
        numbers = {"size": 8, "kernel": 3, "stride": 1, "padding": 0, "dilation": 1, name: value}
        with pytest.raises(ValueError, match=f"{name} must be .*{re.escape(repr(value))}") as error:
            output_size(numbers.pop("size"), **numbers)
        assert not isinstance(error.value, DoesNotFit)

    def test_zero_is_padding_only(self):
        assert output_size(8, kernel=2, padding=0) == 7
        for name in ("kernel", "stride", "dilation"):
            with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1"):
                output_size(8, **{"kernel": 2, name: 0})

    def test_unknown_fit(self):
        with pytest.raises(
            ValueError, match=r"'cropp'; choices: error, crop, pad; did you mean 'crop'"
        ):
            output_size(8, kernel=2, fit="cropp")
        with pytest.raises(ValueError, match="fit: None"):
            output_size(8, kernel=2, fit=None)


class TestSamePadding:
    @settings(deadline=None)
    @given(st.integers(0, 20), st.integers(1, 4), st.integers(1, 100))
    def test_keeps_the_size(self, half, dilation, size):
        kernel = 2 * half + 1
        padding = same_padding(kernel, dilation)
        assert output_size(size, kernel=kernel, padding=padding, dilation=dilation) == size

    def test_of_the_notes(self):
        assert [same_padding(kernel) for kernel in (1, 3, 5, 7)] == [0, 1, 2, 3]

    def test_even_filter(self):
        with pytest.raises(DoesNotFit, match=r"1\.5; the nearest odd filters are 3 and 5"):
            same_padding(4)

    @pytest.mark.parametrize("kernel", [0, -3, 3.0])
    def test_bad_filter(self, kernel):
        with pytest.raises(ValueError, match=f"at least 1; got {kernel}"):
            same_padding(kernel)


class TestReceptiveField:
    def test_stacked_convolutions(self):
        """N0: two 3x3 see 5x5, three see 7x7, at 27 C^2 weights instead of 49 C^2."""
        assert receptive_field([(3, 1)] * 2).size == 5
        assert receptive_field([(3, 1)] * 3) == receptive_field([(7, 1)]) == ReceptiveField(7, 1)

    def test_nothing_sees_one_pixel(self):
        assert receptive_field([]) == ReceptiveField(size=1, step=1)

    @pytest.mark.parametrize(
        ("layers", "size", "step"),
        [
            ([(2, 2)] * 5, 32, 32),
            ([(7, 2), (3, 2)], 11, 4),  # the stem of ResNet-50
            ([(3, 1, 1), (3, 1, 2), (3, 1, 4)], 15, 1),  # Yu and Koltun 2016, table 1
            ([(1, 2), (3, 1)], 5, 2),
        ],
    )
    def test_known_stacks(self, layers, size, step):
        assert receptive_field(layers) == ReceptiveField(size, step)

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 2)),
            min_size=1,
            max_size=4,
        )
    )
    def test_counts_pixels(self, layers):
        """Neurons 0 and 1 of the last layer, traced down to the pixels tap by tap."""

        def pixels(neuron: int) -> set[int]:
            seen = {neuron}
            for kernel, stride, dilation in reversed(layers):
                seen = {n * stride + tap * dilation for n in seen for tap in range(kernel)}
            return seen

        field = receptive_field(layers)
        assert field.size == max(pixels(0)) - min(pixels(0)) + 1
        assert field.step == min(pixels(1)) - min(pixels(0))
        assert field.step == math.prod(stride for _, stride, _ in layers)

    def test_bad_layer(self):
        with pytest.raises(ValueError, match=r"stride must be .* got 0"):
            receptive_field([(3, 0)])
