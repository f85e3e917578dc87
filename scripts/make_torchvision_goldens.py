"""What torchvision answers to drawn weights and images: makes `tests/models/golden/` anew.

    python -m venv /tmp/torchvision
    /tmp/torchvision/bin/pip install torch torchvision
    /tmp/torchvision/bin/python scripts/make_torchvision_goldens.py

Needs PyTorch and torchvision, which cnnlab itself never does, and nothing of cnnlab. A network's
file holds the names and shapes of its state dict and its logits for two images, of some also for
images of other sizes, GoogLeNet's also those of its auxiliary heads for two feature maps each;
weights and images are not kept, `tests/models/drawn_weights.py` draws them. The `.pth` files hold
the same few tensors in each of the formats that PyTorch has written.
"""

import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torchvision

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "models" / "golden"
sys.path.append(str(GOLDEN.parent))

from drawn_weights import draw_features, draw_images, draw_state_dict  # noqa: E402

CLASSES = 10
SIZES = {
    **dict.fromkeys(("alexnet", "googlenet"), 224),
    **{f"vgg{depth}{bn}": 224 for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"resnet{depth}": 64 for depth in (18, 34, 50, 101, 152)},
}
OTHER_SIZES = {"alexnet": [(160, 320), (256, 256), (64, 96)], "vgg11": [(96, 64), (36, 256)]}
"""Where the last map is averaged to the size of the FC's, from larger and from smaller ones."""
FEATURES = [(14, 14), (3, 9)]
"""Of an auxiliary head, which averages them to 4x4."""


def main() -> None:
    """Write every golden file, and print how much the logits differ."""
    GOLDEN.mkdir(exist_ok=True)
    for name, size in SIZES.items():
        golden = answer(name, size)
        (GOLDEN / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(f"{name:<10} {spread(np.array(golden['logits']))}")
    write_tensors()


@torch.inference_mode()
def answer(name: str, size: int) -> dict[str, Any]:
    """Names and shapes of torchvision's `name`, and its logits for the drawn weights and images."""
    options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        network = torchvision.models.get_model(name, num_classes=CLASSES, **options).eval()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    drawn = {key: torch.from_numpy(value) for key, value in draw_state_dict(shapes).items()}
    network.load_state_dict(drawn, assign=True)
    answers = {"logits": network(first_channels(draw_images(size)))}
    for sides in OTHER_SIZES.get(name, ()):
        answers["x".join(map(str, sides))] = network(first_channels(draw_images(*sides)))
    for sides in [(4, 4), *FEATURES] if name == "googlenet" else ():
        for aux, features in draw_features(*sides).items():
            size_of = "" if sides == (4, 4) else f" {sides[0]}x{sides[1]}"
            answers[aux + size_of] = getattr(network, aux)(first_channels(features))
    return {
        "torchvision": torchvision.__version__,
        "size": size,
        **{key: value.double().numpy().round(6).tolist() for key, value in answers.items()},
        "shapes": {key: "x".join(map(str, shape)) for key, shape in shapes.items()},
    }


def first_channels(images: np.ndarray) -> torch.Tensor:
    """[N, H, W, C] -> [N, C, H, W]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2))


def spread(logits: np.ndarray) -> str:
    """The standard deviations over classes and over images: neither may be nearly nothing."""
    return f"classes {logits.std(axis=1).mean():.3f}, images {logits.std(axis=0).mean():.3f}"


def write_tensors() -> None:
    """A state dict in the zip format, the one before, and that of 2017 with its parameters."""
    matrix = torch.arange(-3.0, 3.0).reshape(2, 3) / 4
    tensors = OrderedDict(
        float32=matrix,
        transposed=matrix.T,
        row=matrix[1],
        float16=matrix.half(),
        bfloat16=matrix.bfloat16(),
        float64=matrix.double(),
        int64=torch.tensor(2**40),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(matrix + 1),
    )
    tensors._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save(tensors, GOLDEN / "zip.pth")
    torch.save(tensors, GOLDEN / "legacy.pth", _use_new_zipfile_serialization=False)
    of_2017 = SimpleNamespace(__name__="2017", dump=pickle.dump, Pickler=Pickler2017)
    path = GOLDEN / "legacy_2017.pth"
    torch.save(tensors, path, pickle_module=of_2017, _use_new_zipfile_serialization=False)
    for file in GOLDEN.glob("*.pth"):
        read = torch.load(file, weights_only=True)
        assert all(torch.equal(read[name], tensors[name]) for name in tensors), file


class Pickler2017(pickle.Pickler):
    """Tensors and parameters as PyTorch 0.1 pickled them, and torchvision's first files hold."""

    def reducer_override(self, value: Any) -> Any:
        """`(function, arguments, state)` for a tensor."""
        if isinstance(value, torch.nn.Parameter):
            return torch.nn.Parameter, (value.data,), (True, False, OrderedDict())
        if isinstance(value, torch.Tensor):
            view = value.storage_offset(), tuple(value.shape), value.stride()
            return torch._utils._rebuild_tensor, (value._typed_storage(), *view)
        return NotImplemented


if __name__ == "__main__":
    main()
