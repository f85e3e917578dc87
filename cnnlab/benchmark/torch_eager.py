"""PyTorch eager in its best layout: channels_last, the optimiser's steps fused."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from cnnlab.benchmark import ours
from cnnlab.benchmark.structure import Step, structure
from cnnlab.benchmark.suite import (
    CLASSES,
    FORWARD,
    IMAGE,
    INPUT_GRADIENT,
    LEARNING_RATE,
    MOMENTUM,
    TRAINING,
    Job,
    Layer,
    Matmul,
)
from cnnlab.benchmark.tasks import CannotTakePart, Task
from cnnlab.benchmark.with_jax import normal


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut of option A."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride, self.more = stride, filters - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, C, H, W] -> [N, K, H/S, W/S]."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1 or self.more:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, 0, self.more))
        return functional.relu(x + y)


class GlobalAvgPool(nn.Module):
    """The mean of each feature map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [N, C, H, W] -> [N, C]."""
        return x.mean((2, 3))


def network(steps: tuple[Step, ...]) -> nn.Sequential:
    """A network of steps."""
    layers, x = [], torch.zeros(1, IMAGE[2], *IMAGE[:2])
    for step in steps:
        layer = _layer(step, x.shape[1], x[0].numel())
        x = layer.eval()(x)
        layers.append(layer)
    return nn.Sequential(*layers)


def _layer(step: Step, channels: int, numbers: int) -> nn.Module:
    match step:
        case ("conv", k, f, s, p, bias):
            return nn.Conv2d(channels, k, f, s, p, bias=bias)
        case ("bn",):
            return nn.BatchNorm2d(channels)
        case ("relu",):
            return nn.ReLU(inplace=True)
        case ("max_pool", f, s, p):
            return nn.MaxPool2d(f, s, p)
        case ("dropout", rate):
            return nn.Dropout(rate)
        case ("gap",):
            return GlobalAvgPool()
        case ("fc", k):
            return nn.Sequential(nn.Flatten(), nn.Linear(numbers, k))
        case ("block", k, s):
            return Block(channels, k, s)
        case _:
            raise ValueError(f"no such step: {step}")


class TorchContender:
    """PyTorch on the device that JAX has."""

    device = torch.device("cpu")

    def facts(self, platform: str | None) -> dict[str, Any]:
        """The version. On a GPU products may round as JAX's do by default (TF32), no autocast.

        Raises:
            CannotTakePart: this PyTorch cannot use the platform.
        """
        if platform == "gpu" and torch.cuda.is_available():
            self.device = torch.device("cuda")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
        elif platform != "cpu":
            raise CannotTakePart(f"this PyTorch has no {platform}")
        return {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}

    def prepare(self, job: Job) -> Task:
        """Make a job's tensors; nothing is compiled."""
        match job.subject:
            case Matmul(size=size):
                a = torch.from_numpy(normal(size, size)).to(self.device, getattr(torch, job.dtype))
                return self._task(lambda: torch.mm(a, a), 0)
            case Layer() as layer:
                return self._layer(layer, job)
            case net:
                model = network(structure(ours.network(net.model)))
                model.to(self.device, memory_format=torch.channels_last)
                x = self._images(job.batch, *IMAGE)
                make = self._training if job.what == TRAINING else self._inference
                return make(model, x)

    def _layer(self, layer: Layer, job: Job) -> Task:
        shapes = (
            (job.batch, layer.size, layer.size, layer.channels),
            (layer.filters, layer.kernel, layer.kernel, layer.channels),
            (job.batch, layer.output_size, layer.output_size, layer.filters),
        )
        dtype = getattr(torch, job.dtype)
        x, kernel, upstream = (self._images(*shape).to(dtype) for shape in shapes)
        padding = [layer.padding] * 2

        @torch.inference_mode()
        def forward() -> torch.Tensor:
            return functional.conv2d(x, kernel, padding=padding)

        wanted = [job.what == INPUT_GRADIENT, job.what != INPUT_GRADIENT, False]
        rest = ([1, 1], padding, [1, 1], False, [0, 0], 1, wanted)

        @torch.inference_mode()
        def gradient() -> Any:
            return torch.ops.aten.convolution_backward(upstream, x, kernel, None, *rest)

        return self._task(forward if job.what == FORWARD else gradient, kernel.numel())

    def _training(self, model: nn.Module, x: torch.Tensor) -> Task:
        y = torch.arange(len(x), device=self.device) % CLASSES
        model.train()
        sgd = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, fused=True)

        def step() -> torch.Tensor:
            sgd.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            sgd.step()
            return loss

        return self._task(step, count(model))

    def _inference(self, model: nn.Module, x: torch.Tensor) -> Task:
        model.eval()

        @torch.inference_mode()
        def infer() -> Any:
            return model(x)

        return self._task(infer, count(model))

    def _task(self, call: Any, weights: int) -> Task:
        def wait(_: Any) -> None:
            if self.device.type == "cuda":
                torch.cuda.synchronize()

        return Task(call, wait, weights, compile_seconds=None)

    def _images(self, n: int, h: int, w: int, c: int) -> torch.Tensor:
        """Normal numbers [N, C, H, W] that lie as [N, H, W, C]."""
        return torch.from_numpy(normal(n, h, w, c)).permute(0, 3, 1, 2).to(self.device)


def count(model: nn.Module) -> int:
    """Trainable numbers."""
    return sum(p.numel() for p in model.parameters())


CONTENDER = TorchContender()
