"""The notes' estimate of memory, by hand and against their figures."""

import jax.numpy as jnp
import numpy as np
import pytest

import cnnlab
from cnnlab import models


def summarize(text, *shape):
    return cnnlab.summarize(models.pattern(text), shape)


class TestMemory:
    """The notes' accounting: what is kept, twice with gradients, parameters three times."""

    def test_vgg(self):
        """A12: N0's forward memory of an image, 61.0 MB where it says 93; N0: "~*2 for bwd"."""
        memory = cnnlab.summarize(models.create("vgg16"), (224, 224, 3)).memory()
        assert memory.activations + memory.images == 4 * 15_237_608
        assert round((memory.activations + memory.images) / 1e6, 1) == 61.0
        assert memory.activation_gradients == memory.activations
        weights = 4 * 138_357_544
        assert memory.parameters == memory.parameter_gradients == memory.optimizer_cache == weights
        assert memory.forward == 4 * 15_237_608 + weights
        assert memory.training == 4 * (2 * 15_237_608 - 150_528) + 3 * weights

    def test_three_3x3x64_on_224(self):
        """A13: N1's "72MB, for both activations and gradients" are 77.1 MB."""
        memory = summarize("INPUT -> [CONV3-64]*3", 224, 224, 3).memory()
        assert round((memory.activations + memory.activation_gradients) / 1e6, 1) == 77.1

    def test_batch_and_dtype(self):
        """Of 5x5x2 images 5x5x4 and 3 numbers are put out; 72 and 300 weights with biases."""
        summary = summarize("INPUT -> CONV3-4 -> RELU -> FC-3", 5, 5, 2)
        params = 4 * (72 + 4 + 300 + 3)
        for dtype in ("bfloat16", jnp.bfloat16, jnp.dtype("bfloat16")):
            memory = summary.memory(8, dtype, cache=2)
            assert memory == cnnlab.analysis.Memory(
                activations=8 * 2 * 103,
                activation_gradients=8 * 2 * 103,
                parameters=params,
                parameter_gradients=params,
                optimizer_cache=2 * params,
                images=8 * 4 * 50,
            )
        assert str(summary.memory(8, "float64")) == "9.7 kB forward, 19.3 kB in training"

    def test_numpy_integers(self):
        summary = summarize("INPUT -> CONV3-4 -> FC-3", 5, 5, 2)
        memory = summary.memory(np.int64(128), cache=np.uint8(2))
        assert memory == summary.memory(128, cache=2)
        assert type(memory.activations) is int

    def test_refused(self):
        summary = summarize("INPUT -> FC-2", 2, 2, 1)
        with pytest.raises(ValueError, match=r"unknown dtype .*'flot16'; .*mean 'float16'\?"):
            summary.memory(dtype="flot16")
        with pytest.raises(ValueError, match="unknown dtype of activations: 'int32'"):
            summary.memory(dtype=jnp.int32)
        with pytest.raises(ValueError, match="unknown dtype of activations: '3'"):
            summary.memory(dtype=3)
        for dtype in (None, "float"):
            with pytest.raises(ValueError, match=f"unknown dtype of activations: '{dtype}'"):
                summary.memory(dtype=dtype)
        for size in (0, 1.5, True):
            with pytest.raises(ValueError, match=f"batch_size .* at least 1; got {size}"):
                summary.memory(size)
        with pytest.raises(ValueError, match=r"cache .* at least 0; got -1"):
            summary.memory(cache=-1)
