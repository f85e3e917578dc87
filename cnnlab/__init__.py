"""cnnlab: claims about convolutional networks as experiments that end in a verdict."""

from cnnlab import demo, geometry, models, nn, ops
from cnnlab.analysis import activations, summarize

__all__ = ["activations", "demo", "geometry", "models", "nn", "ops", "summarize"]
