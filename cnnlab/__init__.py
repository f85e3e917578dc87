"""cnnlab: claims about convolutional networks as experiments that end in a verdict."""

from cnnlab import geometry, models, nn, ops
from cnnlab.analysis import summarize

__all__ = ["geometry", "models", "nn", "ops", "summarize"]
