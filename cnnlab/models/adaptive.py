"""Torchvision's average pooling before the first FC, by which a network takes larger images too."""

from cnnlab import nn
from cnnlab.models.pattern import Pattern


def pooled_before_fc(net: Pattern, size: int) -> Pattern:
    """The net whose first FC averages a map of another size to `size` x `size` pixels.

    The pattern language has no word for it: the net's `text` is to be read, not to be parsed. A map
    of that size is left as it is.
    """
    first = next(i for i, step in enumerate(net.steps) if step.layer is nn.Dense)
    step = net.steps[first]
    options = (*step.options, ("pooled_to", (size, size)))
    steps = (*net.steps[:first], step._replace(options=options), *net.steps[first + 1 :])
    return Pattern(net.text, steps)
