"""Turns, warm-ups, failures and unequal networks, with contenders that only keep a diary."""

from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack

import jax.numpy as jnp
import pytest

from cnnlab import ops
from cnnlab.benchmark import contenders, race
from cnnlab.benchmark.contenders import Contender, Prepared
from cnnlab.benchmark.suite import LAYERS, Job, Layer, Matmul, Net, full_suite
from cnnlab.benchmark.tasks import CannotTakePart, Task

JOB = Job("layer", LAYERS[0], 2, "forward")


class Diarist:
    def __init__(self, name, diary, weights=5, breaks=None):
        self.name, self.diary, self.weights, self.breaks = name, diary, weights, breaks

    def prepare(self, job, seconds):
        if self.breaks:
            raise self.breaks
        self.diary.append(f"prepare {self.name}")
        return Prepared(self.weights, 1.5, 7)

    def turn(self, calls):
        assert calls == 7
        self.diary.append(self.name)
        return float(len(self.diary))


def test_they_take_turns():
    diary = []
    row = race.run_job([Diarist(name, diary) for name in "ABC"], JOB, rounds=2, seconds=0.1)
    assert diary == ["prepare A", "prepare B", "prepare C", *"ABCABC"]
    assert row["seconds"] == {"A": [4.0, 7.0], "B": [5.0, 8.0], "C": [6.0, 9.0]}
    assert row["compile"] == {"A": 1.5, "B": 1.5, "C": 1.5}
    assert row["weights"] == 5


def test_a_slow_row_has_the_fewest_rounds(monkeypatch):
    monkeypatch.setattr(race, "ROW_SECONDS", -1.0)
    row = race.run_job([Diarist("A", [])], JOB, rounds=5, seconds=0.1)
    assert len(row["seconds"]["A"]) == race.MIN_ROUNDS == 3


def test_unequal_networks_are_not_timed():
    diary = []
    racers = [Diarist("A", diary), Diarist("B", diary, weights=6)]
    with pytest.raises(race.UnequalNetworks, match=r"L1 .*'A': 5, 'B': 6"):
        race.run_job(racers, JOB, rounds=1, seconds=0.1)
    assert diary == ["prepare A", "prepare B"]


def test_one_that_fails_is_left_out_of_the_row():
    racers = [Diarist("A", []), Diarist("B", [], breaks=MemoryError("no\nmore"))]
    row = race.run_job(racers, JOB, rounds=1, seconds=0.1)
    assert list(row["seconds"]) == ["A"]
    assert row["failed"] == {"B": "MemoryError: no"}


def test_a_dead_process_is_no_failure_of_a_row():
    with pytest.raises(BrokenProcessPool):
        race.run_job([Diarist("A", [], breaks=BrokenProcessPool())], JOB, rounds=1, seconds=0.1)


@pytest.fixture
def clock(monkeypatch):
    """A job that takes two seconds the first time and one second after, by a clock of its own."""
    calls = []

    class Maker:
        def prepare(self, job):
            return Task(lambda: calls.append("call"), lambda _: calls.append("wait"), 9, 0.5)

    def now():
        done = calls.count("call")
        return 0.0 if done == 0 else 1.0 + done

    monkeypatch.setattr(contenders.time, "perf_counter", now)
    monkeypatch.setattr(contenders, "_contender", Maker(), raising=False)
    monkeypatch.setattr(contenders, "_task", None)
    return calls


def test_a_job_is_done_as_often_as_fills_a_turn(clock):
    assert contenders._prepare(JOB, seconds=4.2) == Prepared(9, 0.5, 4)
    assert clock == ["call", "wait", "call", "wait"]  # the first call's 2 s are no measure
    clock.clear()
    contenders._turn(4)
    assert clock == ["call", "wait", *["call"] * 4, "wait"]  # one to warm up, and a wait at the end


def test_a_slow_job_is_done_once(clock):
    assert contenders._prepare(JOB, seconds=0.2).calls == 1
    clock.clear()
    assert contenders._turn(1) == 2.0
    assert clock == ["call", "wait"]


@pytest.mark.parametrize(("program", "reason"), [("one", "the same programs as A"), ("two", "")])
def test_who_takes_part(monkeypatch, program, reason):
    closed = []

    class Racer:
        def __init__(self, contender, threads):
            self.name = contender.name

        def facts(self, platform):
            if self.name == "D":
                raise CannotTakePart(f"no {platform}")
            return {"platform": "tpu", "said by": self.name, self.name: 1}

        def program(self):
            return program if self.name == "B" else "one"

        def close(self):
            closed.append(self.name)

    entrants = (
        Contender("A", "m"),
        Contender("B", "m", other_than="A"),
        Contender("C", "m", package="no_such_package"),
        Contender("D", "m"),
        Contender("E", "m"),
    )
    monkeypatch.setattr(race, "CONTENDERS", entrants)
    monkeypatch.setattr(race, "Racer", Racer)
    with ExitStack() as stack:
        racers, skipped, facts = race._line_up(stack, threads=1)
        assert closed == (["B", "D"] if reason else ["D"])
    assert set("ABDE") <= set(closed)
    assert [racer.name for racer in racers] == (["A", "E"] if reason else ["A", "B", "E"])
    assert reason in skipped.pop("B", "")
    assert skipped == {"C": "no_such_package is not installed", "D": "no tpu"}
    assert (facts["said by"], facts["E"]) == ("A", 1)


def test_operations_are_counted_as_the_formula_has_them():
    # L4: 128 filters of 7x7x128 at the 10x10 positions of a 16x16 image without padding.
    by_name = {layer.name: Job("layer", layer, 128, "forward").flops for layer in LAYERS}
    assert by_name["L4"] == 2 * 128 * 128 * (7 * 7 * 128) * (10 * 10)
    assert by_name["L1"] == 2 * 128 * 96 * (11 * 11 * 3) * (118 * 118)
    assert Job("matmul", Matmul("m", 10), 1, "forward").flops == 2000
    net = Net("net", "INPUT -> CONV3-4 -> RELU -> POOL2 -> FC")
    macs = 32 * 32 * 4 * (3 * 3 * 3) + 16 * 16 * 4 * 10
    assert Job("net", net, 8, "inference").flops == 2 * 8 * macs
    assert Job("net", net, 8, "training step").flops == 3 * 2 * 8 * macs


@pytest.mark.parametrize("layer", [*LAYERS[5:], Layer("wide", 2, 3, 5, 6, 3)])
def test_products_with_the_paddings_zeros_are_not_counted(layer):
    ones = jnp.ones((1, layer.size, layer.size, 1))
    window = jnp.ones((layer.kernel, layer.kernel, 1, 1))
    met = ops.conv2d(ones, window, padding=layer.padding)
    assert met.shape[1] == layer.output_size
    products = int(met.sum()) * layer.channels * layer.filters
    assert Job("layer", layer, 16, "forward").flops == 2 * 16 * products


def test_the_layers_are_those_of_convnet_benchmarks():
    expected = {
        "L1": "3->96 11x11 @128x128",
        "L2": "64->128 9x9 @64x64",
        "L3": "128->128 9x9 @32x32",
        "L4": "128->128 7x7 @16x16",
        "L5": "384->384 3x3 @13x13",
    }
    assert {layer.name: layer.detail for layer in LAYERS[:5]} == expected
    assert [layer.kernel for layer in LAYERS[5:]] == [3, 5, 7, 11]
    assert {layer.output_size for layer in LAYERS[5:]} == {32}


def test_the_suite_is_every_layer_three_ways_and_every_network_two():
    jobs = full_suite("cpu", [(Net("n", "resnet20"), 32)], layer_batch=4)
    assert [(job.subject.name, job.what) for job in jobs[:3]] == [
        ("matmul", "forward"),
        ("n", "training step"),
        ("n", "inference"),
    ]
    layers = [job for job in jobs if isinstance(job.subject, Layer)]
    assert len(layers) == len(jobs) - 3 == 27
    assert {job.batch for job in layers} == {4}
