"""Counts of a step's work, against counts by hand."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from cnnlab import models
from cnnlab.analysis import summarize
from cnnlab.analysis.chips import CHIPS
from cnnlab.analysis.step_time import Case, step_seconds
from cnnlab.analysis.work import Work, count_work
from cnnlab.errors import Mistake
from cnnlab.training.state import create_state
from cnnlab.training.step import make_update

N = 6
"""The batch; no other size is 6, so that sums over the batch are known by it."""


def of(step, *arguments, images=N, params=()):
    return count_work(step, *arguments, images=images, params=params)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def step_work(name, batch, shape, dtype=jnp.float32, **options):
    model = models.create(name, dtype=dtype, **options)
    adapt = optax.sgd(0.1, momentum=0.9)
    update = make_update(model, adapt, label_smoothing=0.0)
    key = jax.random.key(0)
    one = array(1, *shape)
    create = functools.partial(create_state, model, adapt, averaged=False)
    state = jax.eval_shape(create, key, one)
    batch_of = array(batch, *shape), array(batch, dtype=jnp.int32)
    arguments = state, *batch_of, key, jnp.array(False)
    return of(update, *arguments, images=batch, params=state.params)


class TestFlops:
    def test_product(self):
        assert of(jnp.dot, array(3, 5), array(5, 7)).flops == 2 * 3 * 5 * 7

    def test_step_is_three_forward_passes(self):
        """Forward, gradient by the weights, gradient by the input: the last not of the first layer.

        Without padding, whose zeros XLA leaves out.
        """
        pattern, shape = "INPUT -> CONV1-128 -> CONV1-256 -> GAP -> FC", (8, 8, 64)
        rows = summarize(models.create(pattern, classes=10), shape).rows
        macs = [row.macs for row in rows if row.macs]
        flops = step_work(pattern, 32, shape, classes=10).flops / 32
        assert flops == pytest.approx(2 * (3 * sum(macs) - macs[0]), rel=0.02)

    def test_doubling_the_batch_doubles_it(self):
        pattern = "INPUT -> CONV3-8 -> BN -> RELU -> GAP -> FC"
        one, two = (step_work(pattern, n, (16, 16, 3), classes=10).flops for n in (32, 64))
        assert two == pytest.approx(2 * one, rel=0.01)


class TestTraffic:
    def test_product_reads_and_writes_whole_arrays(self):
        work = of(jnp.dot, array(3, 5), array(5, 7))
        assert work.least == work.fused == 4 * (15 + 35 + 21)

    def test_elementwise_chain_is_one_kernel(self):
        work = of(lambda x, y: jnp.exp(x + y) * 2 - x, array(10, 10), array(10, 10))
        assert (work.fused, work.kernels, work.least) == (4 * 300, 1, 0)
        assert work.unfused > work.fused

    def test_operand_of_a_product_is_written_first(self):
        work = of(lambda x, w: jnp.dot(jnp.exp(x), w), array(3, 5), array(5, 7))
        product = 4 * (15 + 35 + 21)
        assert work.least == product
        # exp: x in, its result out. The last kernel has no results left to write.
        assert work.fused == product + 4 * (15 + 15)

    def test_what_is_in_memory_already_is_not_written_again(self):
        def twice(x, w):
            y = jnp.exp(x)
            return jnp.dot(y, w), jnp.dot(y, -w)

        product = 4 * (15 + 35 + 21)
        assert of(twice, array(3, 5), array(5, 7)).fused == 2 * product + 4 * (30 + 70)

    def test_bfloat16_takes_half(self):
        shapes = [array(3, 5), array(5, 7)]
        halves = [array(*a.shape, dtype=jnp.bfloat16) for a in shapes]
        assert of(jnp.dot, *halves).fused == of(jnp.dot, *shapes).fused / 2

    def test_reductions_share_a_pass(self):
        """Sum and sum of squares read x once."""
        x = 4 * 8 * 100
        both = of(lambda x: (x.sum(0), (x * x).sum(0)), array(8, 100))
        assert both.fused == x + 4 * 200

    @pytest.mark.parametrize("rows", [N, 8])
    def test_the_variance_reads_again_when_the_mean_is_there(self, rows):
        """Of a batch and of a part of one, which no other chip waits for."""
        var = of(lambda x: ((x - x.mean(0)) ** 2).sum(0), array(rows, 100))
        assert var.fused == pytest.approx(2 * 4 * rows * 100, rel=0.6)
        assert var.fused >= 2 * 4 * rows * 100

    def test_long_sums_are_not_computed_ever_again(self):
        """Of twenty partial sums, one for each product, the last does not read all arrays anew."""

        def step(w, *xs):
            total, products = jnp.zeros((30, 5)), []
            for x in xs:
                total = total + x
                products.append(jnp.dot(jnp.exp(total), w))
            return products

        work = of(step, array(5, 7), *[array(30, 5)] * 20)
        moved = (work.fused - work.least) / (4 * 150)
        # Each exp writes one array and reads five at most; 20 + 1 + 2 + ... + 20 if all anew.
        assert moved <= 20 * 6 < 230

    def test_counts_are_ordered(self):
        pattern = "INPUT -> [CONV3-8 -> BN -> RELU]*2 -> POOL2 -> GAP -> FC"
        work = step_work(pattern, 8, (16, 16, 3), jnp.bfloat16, classes=10)
        assert 0 < work.least < work.fused < work.unfused


class TestUnknown:
    """What has no place in the lists makes the step's work unknown, by its name."""

    @pytest.mark.parametrize(
        ("step", "names"),
        [
            (lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, length=3)[0], "scan"),
            (lambda x: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x), "while"),
            (lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), "cond"),
            (lambda x: jnp.fft.fft(x).real, "fft"),
            (lambda x: jnp.linalg.cholesky(x), "cholesky"),
            (lambda x: x[jnp.array([2, 0])], "gather"),
            (lambda x: x.at[jnp.array([2, 0])].add(1), "scatter-add"),
            (lambda x: jax.pure_callback(lambda x: x, x, x), "pure_callback"),
        ],
    )
    def test_named(self, step, names):
        work = of(jax.jit(step), array(4, 4), params=[array(7)])
        assert names in work.unknown
        counts = set(Work._fields) - {"images", "gradient", "unknown"}
        assert {getattr(work, count) for count in counts} == {None}
        assert (work.images, work.gradient) == (N, 4 * 7)
        with pytest.raises(Mistake, match=f"work is unknown: it has .*{names}"):
            work.known("flops")
        with pytest.raises(Mistake, match=names):
            work.towards(work._replace(images=2 * N), 7)
        with pytest.raises(Mistake, match=names):
            step_seconds(CHIPS["a100"], work, 1, "float32", Case(1.0))

    def test_known(self):
        work = of(jnp.sort, array(4, 4))
        assert (work.unknown, work.known("least")) == ((), work.least)

    @pytest.mark.parametrize("name", ["tiny_vgg", "resnet8", "lenet5", "mlp"])
    def test_of_no_step_of_a_network_here(self, name):
        network = models.network(name)
        assert step_work(name, 2, network.input_shape).unknown == ()

    def test_stochastic_depth_and_dropout_are_known(self):
        assert step_work("resnet8", 2, (16, 16, 3), survival=0.5).unknown == ()
        assert step_work("INPUT -> DROP0.5 -> LRN -> GELU -> FC-3", 2, (8, 8, 3)).unknown == ()


class TestWaits:
    def test_sums_over_the_batch_that_follow_on_one_another(self):
        def chain(x):
            return ((x - x.mean(0)) ** 2).sum(0)

        assert of(chain, array(N, 3)).waits == 2

    def test_independent_ones_are_one(self):
        assert of(lambda x: (x.sum(0), (x * x).sum(0)), array(N, 3)).waits == 1

    def test_other_sums_are_none(self):
        assert of(lambda x: x.sum(1), array(N, 3)).waits == 0
        assert of(lambda x: x.sum(0), array(3, N)).waits == 0

    def test_batch_norm_has_four(self):
        """Mean, variance, and backwards again; and the bias's or the loss's own is behind them."""

        def waits(layers):
            pattern = f"INPUT -> [CONV3-8 -> BN -> RELU]*{layers} -> GAP -> FC"
            return step_work(pattern, N, (8, 8, 3), classes=10).waits

        assert waits(3) - waits(2) == 4


class TestBatches:
    def test_gradient_is_that_of_the_parameters(self):
        work = step_work("resnet18", 2, (32, 32, 3), classes=1000)
        assert work.gradient == 4 * 11_689_512

    def test_the_line_through_two_batches_goes_through_a_third(self):
        pattern = "INPUT -> [CONV3-8 -> BN -> RELU]*2 -> POOL2 -> GAP -> FC"
        works = [step_work(pattern, batch, (16, 16, 3), classes=10) for batch in (16, 32, 80)]
        drawn = works[0].towards(works[1], 80)
        for name, guess, counted in zip(Work._fields, drawn, works[2], strict=True):
            assert guess == pytest.approx(counted, rel=1e-3), name
