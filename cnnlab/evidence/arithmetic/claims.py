"""The arithmetic claims of the notes as data, each with the check that computes our figure.

N0 to N3 are the four notes. What the notes say is quoted or shortened, never corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import pandas as pd

from cnnlab.evidence.arithmetic import layers, networks, sizes
from cnnlab.evidence.arithmetic.finding import Finding


@dataclass(frozen=True)
class ArithmeticClaim:
    """A claim that can be computed, without training.

    Attributes:
        id: short name, e.g. ``"A1"``.
        statement: the claim in one sentence.
        source: the notes and the headings it stands under.
        note: the figure as the notes give it.
        compute: computes ours and compares; read it through `check`.
    """

    id: str
    statement: str
    source: str
    note: str
    compute: Callable[[], Finding]

    def check(self) -> Finding:
        """What our computation finds."""
        # A GPU or TPU multiplies float32 in fewer bits unless told otherwise.
        with jax.default_matmul_precision("highest"):
            return self.compute()


ARITHMETIC_CLAIMS = (
    ArithmeticClaim(
        "A1",
        "A fully-connected neuron has a weight for every number of the image.",
        "N0, Architecture Overview; N1, Motivation",
        "32x32x3: 3072 weights; 200x200x3: 120,000",
        networks.fully_connected_neuron,
    ),
    ArithmeticClaim(
        "A2",
        "A neuron of a CONV layer has a weight for every number its filter covers.",
        "N0 and N2, Local Connectivity",
        "5x5 on 32x32x3: 75 weights and +1 bias; 3x3 on 16x16x20: 180 connections",
        networks.convolutional_neuron,
    ),
    ArithmeticClaim(
        "A3",
        "(W-F+2P)/S+1 neurons fit, and where that is no whole number they do not fit.",
        "N0, Spatial arrangement and Convolution Demo; N2, How to compute the number of neurons",
        "(W,F,S,P) = (7,3,1,0): 5; (7,3,2,0): 3; (5,3,2,1): 3; (10,3,2,0): 4.5, invalid",
        sizes.output_sizes,
    ),
    ArithmeticClaim(
        "A4",
        "In general the output size is the floor form.",
        "N3, Zero Padding",
        "floor((i+2p-k)/s) + 1",
        sizes.floor_form,
    ),
    ArithmeticClaim(
        "A5",
        "P=(F-1)/2 keeps the size at stride 1.",
        "N0, Zero-padding and Layer Sizing Patterns; N1, Convolutional Layer-3 Paddings; "
        "N2, Use of zero-padding",
        "P=(F-1)/2; F=3: P=1, F=5: P=2",
        sizes.same_size,
    ),
    ArithmeticClaim(
        "A6",
        "Each number of the output is one filter times one window of the input, summed.",
        "N0, Case study (detailed example)",
        "11x11x4, F=5, S=2, P=0: 4x4; V[0,0,0] = np.sum(X[:5,:5,:] * W0) + b0, ...",
        layers.case_study,
    ),
    ArithmeticClaim(
        "A7",
        "Ten 5x5 filters at stride 1 and pad 2 on 32x32x3 keep the size.",
        "N1, Convolutional Layer-3 Paddings",
        "32 wide and high, depth 10; (5x5x3 + 1) * 10 = 760",
        networks.ten_filters,
    ),
    ArithmeticClaim(
        "A8",
        "Valid convolutions shrink a 32x32 image.",
        "N1, Convolutional Layer-2 Spatial Dimensions and Convolutional Layer-3 Paddings",
        "5x5: 28; 7x7, then 5x5 at stride 2: 26, then 11",
        sizes.two_filters_in_a_row,
    ),
    ArithmeticClaim(
        "A9",
        "2x2 max pooling at stride 2 drops three activations of four; 3x3 at stride 2 needs "
        "padding on 32x32.",
        "N0, Layer Sizing Patterns; N1, Layer Sizing",
        "exactly 75%; 3x3 at stride 2 on 32x32x3 would require zero padding",
        sizes.pooling_discards,
    ),
    ArithmeticClaim(
        "A10",
        "Three stacked 3x3 see as far as one 7x7, with fewer weights.",
        "N0, Prefer a stack of small filter CONV to one large receptive field CONV layer",
        "three see 7x7, two see 5x5; 27C^2 against 49C^2",
        networks.stacked_filters,
    ),
    ArithmeticClaim(
        "A11",
        "VGG-16's table: every layer's output, memory and weights.",
        "N0, VGGNet in detail",
        "22 rows; 138M parameters",
        networks.vgg_table,
    ),
    ArithmeticClaim(
        "A12",
        "VGG-16's forward pass takes this much memory for an image.",
        "N0, VGGNet in detail",
        "24M * 4 bytes ~= 93MB / image",
        networks.vgg_memory,
    ),
    ArithmeticClaim(
        "A13",
        "Three 3x3x64 layers on 224x224x3 take this much memory, gradients included.",
        "N1, Layer Sizing",
        "about 10 million activations, or 72MB",
        networks.three_early_layers,
    ),
    ArithmeticClaim(
        "A14",
        "What the networks count; most of VGG's parameters are in the first FC layer, most of its "
        "memory in the early CONV layers.",
        "N0, Case studies and VGGNet in detail",
        "AlexNet 60M, GoogLeNet 4M, VGG 140M, 100M of them in the first FC layer; most of the "
        "memory (and also compute time) in the early CONV layers",
        networks.parameter_counts,
    ),
    ArithmeticClaim(
        "A15",
        "A 1x1 convolution is the same fully-connected layer at every position.",
        "N3, 1x1 Convolutional layer",
        "the same operation of a fully connected single layer neural network",
        layers.one_by_one,
    ),
    ArithmeticClaim(
        "A16",
        "A translated input gives the translated output.",
        "N3, Parameter sharing",
        "0,3,2,0,0 gives 0,1,0,0; 0,0,3,2,0 gives 0,0,1,0",
        layers.equivariance,
    ),
    ArithmeticClaim(
        "A17",
        "A CONV layer is a cross-correlation: the filter is not flipped.",
        "N3, Convolutional Layer",
        "z(i,j,k) = sum over u,v,c of x(i+u, j+v, c) w(u,v,c,k)",
        layers.cross_correlation,
    ),
    ArithmeticClaim(
        "A18",
        "Pooling keeps the depth and adds no parameters; over depth it keeps width and height.",
        "N0 and N3, Pooling Layer; N0, Layers used to build ConvNets",
        "32x32x12 -> 16x16x12; zero parameters; over depth the number of channels is reduced",
        layers.pooling_and_depth,
    ),
    ArithmeticClaim(
        "A19",
        "Batch normalisation, forward, in train and in test mode.",
        "N0, Batch Normalization",
        "batchnorm_forward; momentum 0.9, "
        "running_mean = (1 - momentum) * running_mean + momentum * sample_mean",
        layers.batch_normalisation,
    ),
    ArithmeticClaim(
        "A20",
        "The common networks are one pattern, and its simplest is the linear classifier.",
        "N0, Layer Patterns; N1, Example ConvNet Architecture",
        "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC; "
        "INPUT -> FC, N = M = K = 0",
        networks.layer_pattern,
    ),
    ArithmeticClaim(
        "A21",
        "Identity shortcuts add no parameters and no computation.",
        "N3, The ResNet Architecture",
        "neither extra parameter nor computational complexity",
        networks.identity_shortcuts,
    ),
    ArithmeticClaim(
        "A22",
        "The convolution demo, step by step.",
        "N0, Convolution Demo; N3, Zero Padding",
        "5x5x3, P=1, K=2, F=3, S=2: (5 - 3 + 2)/2 + 1 = 3",
        layers.convolution_demo,
    ),
    ArithmeticClaim(
        "A23",
        "K filters of size F on depth D1 give depth K.",
        "N1, Pooling Layer (Summary of Conv and Pool Layer)",
        "(F*F*D1)*K weights and K biases; D2 = K",
        networks.conv_layer_summary,
    ),
)


def arithmetic_table(claims: Iterable[ArithmeticClaim] = ARITHMETIC_CLAIMS) -> pd.DataFrame:
    """Checks claims and sets our figures beside the notes'; seconds for all.

    Returns:
        One row a claim, with the columns ``id``, ``claim``, ``source``, ``the note says``,
        ``ours``, ``outcome`` ("agrees", "slip" or "disagrees") and ``why`` (of a slip, else
        empty). A row that disagrees means that something in cnnlab is wrong.
    """
    rows = []
    for claim in claims:
        finding = claim.check()
        rows.append(
            {
                "id": claim.id,
                "claim": claim.statement,
                "source": claim.source,
                "the note says": claim.note,
                "ours": finding.ours,
                "outcome": finding.outcome,
                "why": finding.why,
            }
        )
    return pd.DataFrame(rows)
