"""Every registered network, one test each; the deep ones of a kind only among the slow tests."""

import pytest

from cnnlab import models

DEEP = {"inception_resnet_v2", "preact1001", "preact164", "resnet1202", "resnet152"}
"""Seconds to trace."""

LONG = DEEP | {"googlenet", "googlenet_bn", "inception_v4", "resnet34", "resnet50", "resnet101"}
LONG |= {f"{kind}{depth}" for kind in ("resnet", "plain") for depth in (32, 44, 56, 110)}
LONG |= {f"vgg{depth}{norm}" for depth in ("13", "16_1x1", "19") for norm in ("", "_bn")}
LONG |= {"preact110", "vgg16_bn"}
"""Many seconds to compile, and of one kind with shallower ones."""


def names(slow):
    return [pytest.param(n, marks=pytest.mark.slow if n in slow else ()) for n in models.names()]


@pytest.fixture(params=names(DEEP))
def every(request):
    """The name of a registered network, to be traced."""
    return request.param


@pytest.fixture(params=names(LONG))
def trained(request):
    """The name of a registered network, to be compiled."""
    return request.param
