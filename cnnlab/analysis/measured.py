"""Published measurements of ResNet-50's training on ImageNet, to hold predictions against."""

from typing import NamedTuple

IMAGENET = 1_281_167
"""Training images."""


class Measured(NamedTuple):
    """One published run; `batch` is each chip's."""

    chip: str
    chips: int
    batch: int
    dtype: str
    images_per_second: float
    source: str


def _flax(chip: str, chips: int, batch: int, dtype: str, steps: int, hours: float) -> Measured:
    """Wall time of a run, with evaluation and compilation.

    The README does not tell the batch; it is what makes 100 epochs, the example's length, of the
    steps.
    """
    return Measured(chip, chips, batch, dtype, steps * batch * chips / hours / 3600, _FLAX)


def _epochs(chip: str, chips: int, batch: int, dtype: str, hours: float) -> Measured:
    """Wall time of 90 epochs, evaluation included."""
    rate = 90 * IMAGENET / hours / 3600
    return Measured(chip, chips, batch, dtype, rate, "NVIDIA MXNet 22.10")


_FLAX = "flax, examples/imagenet"
_TORCH = "NVIDIA PyTorch 21.03"
_MXNET = "NVIDIA MXNet 20.12"

MEASURED = (
    _flax("v100", 8, 256, "bfloat16", 62_500, 4.3),
    _flax("v100", 8, 64, "float32", 250_200, 13.2),
    _flax("tpu_v3", 4, 256, "bfloat16", 125_100, 4.4),
    _flax("tpu_v3", 16, 64, "bfloat16", 125_100, 2.1),
    Measured("v100", 1, 256, "bfloat16", 1200, _TORCH),
    Measured("v100", 1, 192, "bfloat16", 1376, _MXNET),
    Measured("v100", 8, 192, "bfloat16", 10_723, _MXNET),
    Measured("v100", 1, 96, "float32", 384, _MXNET),
    Measured("a100", 1, 256, "bfloat16", 2470, _TORCH),
    Measured("a100", 8, 256, "bfloat16", 16_621, _TORCH),
    Measured("a100", 1, 256, "float32", 938, _TORCH),
    Measured("a100", 1, 256, "float32", 1022, _MXNET),
    Measured("a100", 8, 256, "bfloat16", 16_925, _MXNET),
    _epochs("a100", 1, 512, "bfloat16", 8.75),
    _epochs("a100", 8, 512, "bfloat16", 1.14),
)
"""Mixed precision counts as bfloat16. The first is JAX's own on GPUs, and calibrates the model.

Sources: flax's README (github.com/google/flax, examples/imagenet); NVIDIA DeepLearningExamples,
the READMEs of PyTorch/Classification/ConvNets/resnet50v1.5 and MxNet/Classification/RN50v1.5, the
latter's newer version from catalog.ngc.nvidia.com (22.10).
"""

H100_OVER_A100 = 14.4 / 7.8
"""Minutes to train ResNet-50 on 16 A100 and on 16 H100, one maker's servers: MLPerf Training v3.0
(2023), as silvertonconsulting.com reports it."""
