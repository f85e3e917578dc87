"""What is timed, as data: matrix products, single convolutions and whole networks.

L1 to L5 are the layers of soumith/convnet-benchmarks (no padding, stride 1); the four others have
the filter sizes of the claims on a CIFAR-like volume.
"""

from typing import NamedTuple

from cnnlab.analysis import summarize
from cnnlab.analysis.counts import known
from cnnlab.models import create

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "forward", "input gradient", "weight gradient"
TRAINING, INFERENCE = "training step", "inference"

IMAGE = (32, 32, 3)
CLASSES = 10
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
"""So slow that weights stay about where they begin, however many steps are timed."""


class Matmul(NamedTuple):
    """A product of two square matrices: what the machine can do at best."""

    name: str
    size: int

    @property
    def detail(self) -> str:
        """E.g. `2048x2048`."""
        return f"{self.size}x{self.size}"


class Layer(NamedTuple):
    """K filters of size F over C channels of size x size pixels, stride 1."""

    name: str
    channels: int
    filters: int
    kernel: int
    size: int
    padding: int

    @property
    def detail(self) -> str:
        """E.g. `3->96 11x11 @128x128`."""
        window, image = (f"{n}x{n}" for n in (self.kernel, self.size))
        return f"{self.channels}->{self.filters} {window} @{image}"

    @property
    def output_size(self) -> int:
        """Pixels of the output's side."""
        return self.size + 2 * self.padding - self.kernel + 1

    @property
    def products(self) -> int:
        """Of an image: a weight and a pixel each, none of them a pixel of the padding."""
        offsets = range(-self.padding, self.kernel - self.padding)
        reached = sum(len(range(max(0, d), min(self.size, self.output_size + d))) for d in offsets)
        return reached**2 * self.channels * self.filters


class Net(NamedTuple):
    """A network for images of 32x32x3 and ten classes."""

    name: str
    model: str

    @property
    def detail(self) -> str:
        """The pattern, where that is what the network is called."""
        return self.model if self.model != self.name else ""

    @property
    def macs(self) -> int:
        """Multiplications with an addition, of an image's way forward; as a summary counts them."""
        return known(summarize(create(self.model, classes=CLASSES), IMAGE).macs, self.model)


class Job(NamedTuple):
    """One row of the results: what is done with a layer or network, at a batch size."""

    part: str
    subject: Matmul | Layer | Net
    batch: int
    what: str
    dtype: str = "float32"

    @property
    def flops(self) -> int:
        """Of one call, a multiplication and an addition each; backward a network takes twice."""
        match self.subject:
            case Matmul(size=size):
                return 2 * size**3
            case Layer() as layer:
                return 2 * self.batch * layer.products
            case Net() as net:
                return 2 * self.batch * net.macs * (3 if self.what == TRAINING else 1)


LAYERS = (
    Layer("L1", 3, 96, 11, 128, 0),
    Layer("L2", 64, 128, 9, 64, 0),
    Layer("L3", 128, 128, 9, 32, 0),
    Layer("L4", 128, 128, 7, 16, 0),
    Layer("L5", 384, 384, 3, 13, 0),
    *(Layer(f"{size}x{size}", 64, 64, size, 32, size // 2) for size in (3, 5, 7, 11)),
)
REGISTERED = ("resnet20", "resnet56", "vgg_cifar", "allcnn_c_all")


def full_suite(platform: str, nets: list[tuple[Net, int]], layer_batch: int) -> list[Job]:
    """The networks, each at its batch size, and all layers at `layer_batch`."""
    matmul = Matmul("matmul", 2048 if platform == "cpu" else 8192)
    return jobs(matmul, [(layer, layer_batch) for layer in LAYERS], nets)


def quick_suite() -> list[Job]:
    """Tiny shapes, to see in seconds that everything runs; its times mean nothing."""
    net = Net("tiny", "INPUT -> CONV3-4 -> BN -> RELU -> POOL2 -> GAP -> FC")
    return jobs(Matmul("matmul", 64), [(Layer("tiny", 3, 4, 3, 8, 1), 2)], [(net, 2)])


def jobs(matmul: Matmul, layers: list[tuple[Layer, int]], nets: list[tuple[Net, int]]) -> list[Job]:
    """Each layer three ways and each network two, after the product that they are compared with."""
    passes = (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT)
    return [
        Job("matmul", matmul, 1, FORWARD),
        *(Job("net", net, batch, what) for net, batch in nets for what in (TRAINING, INFERENCE)),
        *(Job("layer", layer, batch, what) for layer, batch in layers for what in passes),
    ]
