"""Weights and images that NumPy draws from a seed, for PyTorch's networks and for ours alike.

The golden logits beside this file are what torchvision makes of them; so that no weights need to
be kept, `scripts/make_torchvision_goldens.py` and the tests draw the same ones here.
"""

import math

import numpy as np

SEED = 2014
AUX_CHANNELS = {"aux1": 512, "aux2": 528}


def draw_state_dict(shapes, seed=SEED):
    """Arrays for the entries of a state dict, by PyTorch's names and shapes.

    Scaled so that activations neither grow nor die on the way through 152 layers; norms have
    offsets, means and variances of their own, so that none can be mistaken for another.
    """
    return {name: _draw(name, shape, shapes, seed) for name, shape in shapes.items()}


def draw_images(height, width=None, seed=SEED):
    """Two images [2, height, width, 3] of blocks of colour under noise, square if not told."""
    width = width or height
    rng = np.random.default_rng([seed, height] if width == height else [seed, height, width])
    blocks = rng.normal(size=(2, 4, 4, 3)).repeat(height // 4, axis=1).repeat(width // 4, axis=2)
    return np.float32(blocks + 0.5 * rng.normal(size=blocks.shape))


def draw_features(height=4, width=4, seed=SEED):
    """What GoogLeNet's auxiliary heads may see, [2, height, width, C] for each."""
    rng = np.random.default_rng(seed)
    return {
        aux: np.float32(rng.normal(size=(2, height, width, c))) for aux, c in AUX_CHANNELS.items()
    }


def _draw(name, shape, shapes, seed):
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    uniform = np.random.default_rng([seed, *name.encode()]).random(shape, dtype=np.float32)
    if len(shape) > 1:
        uniform -= np.float32(0.5)
        uniform *= np.float32(math.sqrt(24 / math.prod(shape[1:])))
        return uniform
    if name.endswith((".bias", "running_mean")):
        return 0.4 * (uniform - 0.5)
    if name.endswith("running_var"):
        return 0.5 + uniform
    return (0.2 if _ends_a_residual_branch(name, shapes) else 1) * (0.5 + uniform)


def _ends_a_residual_branch(name, shapes):
    """Of a resnet's norms: a small scale here keeps a sum of 50 branches small."""
    basic = "bn2" in name and name.replace("bn2", "bn3") not in shapes
    return name.startswith("layer") and ("bn3" in name or basic)
