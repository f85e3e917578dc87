"""Memory of a forward pass and of training, by the notes' own accounting."""

from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp
from rich.filesize import decimal

from cnnlab import geometry
from cnnlab.ops.checks import dtype_name

_FLOAT32 = 4
"""Bytes."""


@dataclass(frozen=True)
class Memory:
    """Bytes for one batch: an estimate that keeps every array the notes count.

    What XLA takes differs: it frees what is no longer needed, fuses layers, and wants room to work.

    Attributes:
        activations: what the layers put out.
        activation_gradients: as much again.
        parameters: weights and biases, always float32.
        parameter_gradients: as much again.
        optimizer_cache: momentum, one number for each parameter; Adam keeps two.
        images: the batch itself, float32.
    """

    activations: int
    activation_gradients: int
    parameters: int
    parameter_gradients: int
    optimizer_cache: int
    images: int

    def __str__(self) -> str:
        return f"{decimal(self.forward)} forward, {decimal(self.training)} in training"

    @property
    def forward(self) -> int:
        """Bytes of a forward pass alone."""
        return self.activations + self.parameters + self.images

    @property
    def training(self) -> int:
        """Bytes of all parts: forward, backward and update."""
        return sum(getattr(self, part.name) for part in fields(self))


def estimate_memory(
    *, activations: int, params: int, pixels: int, batch_size: int, dtype: Any, cache: int
) -> Memory:
    """`Memory` from numbers per image (CS231n, Computational Considerations).

    Raises:
        ValueError: a batch size or cache that is no whole number in range; an unknown dtype.
    """
    batch_size = geometry.whole("batch_size", batch_size, at_least=1)
    cache = geometry.whole("cache", cache, at_least=0)
    size = jnp.dtype(dtype_name("dtype of activations", dtype)).itemsize
    outputs = activations * batch_size * size
    parameters = params * _FLOAT32
    return Memory(
        activations=outputs,
        activation_gradients=outputs,
        parameters=parameters,
        parameter_gradients=parameters,
        optimizer_cache=cache * parameters,
        images=pixels * batch_size * _FLOAT32,
    )
