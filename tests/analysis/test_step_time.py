"""The step-time model in its limits, and by hand."""

import dataclasses
import math

import pytest

from cnnlab.analysis.chips import CHIPS
from cnnlab.analysis.measured import IMAGENET, MEASURED
from cnnlab.analysis.step_time import (
    Case,
    all_reduce_seconds,
    images_per_second,
    ring_seconds,
    roofline_seconds,
    step_seconds,
)
from cnnlab.analysis.work import Work

CHIP = dataclasses.replace(
    CHIPS["a100"],
    peak={"bfloat16": 100.0},
    bandwidth=10.0,
    group=8,
    link=50.0,
    hop=0.0,
    network=5.0,
    network_hop=0.0,
)
WORK = Work(
    images=4, flops=2000, unfused=900, fused=100, least=50, kernels=7, gradient=400, waits=3
)
ALL = Case(1.0)


def step(chip=CHIP, work=WORK, chips=1, case=ALL):
    return step_seconds(chip, work, chips, "bfloat16", case)


class TestOneChip:
    def test_is_the_longer_of_arithmetic_and_memory(self):
        assert roofline_seconds(CHIP, WORK, "bfloat16", "fused") == 20
        assert roofline_seconds(CHIP, WORK, "bfloat16", "unfused") == 90
        assert roofline_seconds(CHIP, WORK, "bfloat16", "least") == 20

    def test_infinite_bandwidth_leaves_arithmetic(self):
        fast = dataclasses.replace(CHIP, bandwidth=math.inf)
        assert roofline_seconds(fast, WORK, "bfloat16", "unfused") == 20

    def test_efficiency_divides(self):
        assert step(case=Case(0.25)) == 80

    def test_has_no_communication(self):
        slow = dataclasses.replace(CHIP, link=1e-9, network=1e-9, hop=1e9)
        assert step(slow) == step() == 20

    def test_double_batch_doubles_it(self):
        double = WORK._replace(images=8, flops=4000, fused=200)
        assert step(work=double) == 2 * step()
        rates = [images_per_second(CHIP, work, 1, "bfloat16", ALL) for work in (WORK, double)]
        assert rates == [0.2, 0.2]

    def test_a_dtype_without_a_peak_is_refused(self):
        with pytest.raises(ValueError, match="TPU v5e: 'float32'; choices: bfloat16"):
            roofline_seconds(CHIPS["tpu_v5e"], WORK, "float32", "fused")


class TestAllReduce:
    @pytest.mark.parametrize(("chips", "seconds"), [(1, 0), (2, 10), (4, 15), (1000, 19.98)])
    def test_ring(self, chips, seconds):
        """100 bytes at 10 a second: n - 1 parts of 1/n out, and as many again."""
        assert ring_seconds(100, chips, 10) == pytest.approx(seconds)

    def test_groups(self):
        """8 by links at 50/s, then a share of 1/8 among 4 groups at 5/s."""
        by_hand = 2 * 7 / 8 * 400 / 50 + 2 * 3 / 4 * (400 / 8) / 5
        assert all_reduce_seconds(CHIP, 400, 32) == pytest.approx(by_hand)

    def test_hops_of_a_switch_and_of_a_network(self):
        chip = dataclasses.replace(CHIP, hop=1.0, network_hop=100.0)
        assert all_reduce_seconds(chip, 0, 2) == 2
        assert all_reduce_seconds(chip, 0, 8) == 6
        assert all_reduce_seconds(chip, 0, 64) == 6 + 600

    def test_hops_of_a_torus(self):
        """There and back over half of each ring: 16 + 16 of 16x16; 8 + 8 + 8 of 8x8x8."""
        torus = dataclasses.replace(CHIP, axes=2, group=1024, hop=1.0)
        assert all_reduce_seconds(torus, 0, 256) == pytest.approx(32)
        assert all_reduce_seconds(dataclasses.replace(torus, axes=3), 0, 512) == pytest.approx(24)

    def test_what_cannot_be_joined_is_refused(self):
        with pytest.raises(ValueError, match="2048 chips"):
            all_reduce_seconds(CHIPS["tpu_v3"], 1, 2048)
        with pytest.raises(ValueError, match="12 chips"):
            all_reduce_seconds(CHIP, 1, 12)


class TestManyChips:
    def test_only_what_is_not_hidden_counts(self):
        # 2 chips: 1 x 400 / 50 = 8 s of all-reduce, a step of 20 s hides 2/3 of it.
        assert step(chips=2) == 20
        assert step(chips=2, case=Case(1.0, hidden=0)) == 28
        assert step(chips=2, case=Case(1.0, hidden=0.1)) == pytest.approx(26)

    def test_waits_are_never_hidden(self):
        chip = dataclasses.replace(CHIP, hop=1.0)
        assert step(chip, chips=2) == 20 + 3 * 2
        assert step(chip, chips=2, case=Case(1.0, waits=False)) == 20

    def test_no_cost_no_loss(self):
        free = dataclasses.replace(CHIP, link=math.inf, network=math.inf)
        case = Case(1.0, hidden=0)
        assert images_per_second(free, WORK, 64, "bfloat16", case) == pytest.approx(64 * 4 / 20)

    @pytest.mark.parametrize("name", ["a100", "h100", "tpu_v5e", "tpu_v5p"])
    def test_more_chips_never_make_a_step_shorter(self, name):
        work = Work(128, 3e12, 4e11, 6e10, 2e10, 900, 1e8, 200)
        times = [step_seconds(CHIPS[name], work, 2**i, "bfloat16", ALL) for i in range(11)]
        assert times == sorted(times)
        assert times[-1] > times[0]


class TestFigures:
    def test_units(self):
        """A slip of a power of ten would show: each figure within what accelerators have."""
        for chip in CHIPS.values():
            assert 1e14 < chip.peak["bfloat16"] < 1e15
            assert 8e11 < chip.bandwidth < 4e12
            assert 1.5e10 < chip.memory < 1e11
            assert chip.bandwidth > chip.link > (chip.network or 0)
            assert 1e-7 < chip.hop < chip.network_hop < 1e-4

    def test_flax_rows_are_of_about_100_epochs(self):
        """Steps x batch / hours: the rates of 100 epochs in the README's wall times."""
        hours = (4.3, 13.2, 4.4, 2.1)
        for row, wall in zip(MEASURED, hours, strict=False):
            assert row.images_per_second == pytest.approx(100 * IMAGENET / wall / 3600, rel=0.002)
