"""Pictures of trained networks: each function gives a `Picture`, the figure and its numbers.

    from cnnlab.analysis import pictures

    pictures.filters(model, variables, images).save("filters.png")

`images` are [N, H, W, C] as the network takes them, normalised. The last line of a notebook's cell
shows its picture.
"""

from cnnlab.analysis.pictures.activations import activations
from cnnlab.analysis.pictures.equivariance import equivariance
from cnnlab.analysis.pictures.filters import filters
from cnnlab.analysis.pictures.lesions import lesions
from cnnlab.analysis.pictures.picture import NothingToShow, Picture
from cnnlab.analysis.pictures.receptive_field import receptive_field
from cnnlab.analysis.pictures.saliency import saliency
from cnnlab.analysis.pictures.scores import scores
from cnnlab.analysis.pictures.shift_response import shift_response

__all__ = [
    "NothingToShow",
    "Picture",
    "activations",
    "equivariance",
    "filters",
    "lesions",
    "receptive_field",
    "saliency",
    "scores",
    "shift_response",
]
