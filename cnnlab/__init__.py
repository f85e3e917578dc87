"""cnnlab: claims about convolutional networks as experiments that end in a verdict."""

from cnnlab import demo, geometry, models, nn, ops
from cnnlab.analysis import activations, summarize

__version__ = "0.1.0"

__all__ = ["activations", "demo", "geometry", "models", "nn", "ops", "summarize"]
