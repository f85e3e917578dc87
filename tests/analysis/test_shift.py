"""Images that move, against rows written out and NumPy, and the measure of what logits do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnlab.analysis.shift import REACH, logit_change, offsets, shifted


def test_offsets():
    assert offsets(0) == ((0, 0),)
    for distance in range(1, REACH + 1):
        found = offsets(distance)
        assert len(set(found)) == 8
        assert {max(map(abs, move)) for move in found} == {distance}
        assert np.sum(found, axis=0).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("right", "row"),
    [(0, [1, 2, 3, 4, 5, 6]), (2, [3, 2, 1, 2, 3, 4]), (-1, [2, 3, 4, 5, 6, 5]),
     (-4, [5, 6, 5, 4, 3, 2])],
)  # fmt: skip
def test_a_row(right, row):
    x = jnp.arange(1.0, 7.0).reshape(1, 1, 6, 1)
    image = jnp.concatenate([x] * 6, axis=1)
    for by, axis in (((0, right), 1), ((right, 0), 2)):
        moved = shifted(image if axis == 1 else image.transpose(0, 2, 1, 3), jnp.array(by))
        moved = moved[0, :, :, 0] if axis == 1 else moved[0, :, :, 0].T
        np.testing.assert_array_equal(moved, [row] * 6)


def test_down_and_right_against_numpy():
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    move = jax.jit(shifted)
    for down, right in [*offsets(3), (1, -4)]:
        expected = padded[:, 4 - down : 13 - down, 4 - right : 11 - right]
        np.testing.assert_array_equal(move(x, np.array([down, right])), expected)


class TestLogitChange:
    logits = np.random.default_rng(0).normal(size=(4000, 10))

    def test_none(self):
        assert logit_change(self.logits, self.logits) == 0
        offset = self.logits + np.arange(4000)[:, None]
        assert logit_change(self.logits, offset) == pytest.approx(0, abs=1e-9)

    def test_scale_of_the_logits_does_not_count(self):
        moved = self.logits + 0.1 * self.logits[::-1]
        assert logit_change(5 * self.logits, 5 * moved) == pytest.approx(
            logit_change(self.logits, moved)
        )

    def test_by_hand(self):
        before, after = np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[3.0, 2.0], [1.0, 0.0]])
        assert logit_change(before, after) == pytest.approx(np.sqrt((0.5 + 0.5) / 2))

    def test_another_answer_altogether(self):
        assert logit_change(self.logits, self.logits[::-1]) == pytest.approx(2**0.5, rel=0.02)
        assert logit_change(self.logits, -self.logits) == pytest.approx(2)
