"""Look inside a trained network: every picture of it as PNG, from a run's folder.

    python experiments/look.py runs/stacked_convs/digits/three_3x3/seed0-0123456789
    python experiments/look.py runs/lesions/cpu/residual/seed0-0123456789 --out pictures

Shows first-layer filters, activations, scores, receptive fields, equivariance and saliency on
images of the validation split, the response to shifts and lesions on those of the test split, and
the run's curves. Exit status as of `experiments/ablate.py`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp

from cnnlab import data
from cnnlab.analysis import lesion, pictures
from cnnlab.analysis.pictures import NothingToShow, Picture
from cnnlab.evidence.curves import curves
from cnnlab.launch import guarded
from cnnlab.training import RecipeError, probes, recipe_of

IMAGES = 8
"""Of the validation split so many, the first, are shown and averaged over."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, load the network, save its pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a run's, e.g. runs/lesions/cpu/plain/seed0-...")
    parser.add_argument("--out", type=Path, help="where to save; FOLDER/pictures if left out")
    args = parser.parse_args(arguments)
    return guarded(lambda: look(args.folder, args.out or args.folder / "pictures"))


def look(folder: Path, out: Path) -> int:
    """Save the pictures and say which is what; gives the exit status."""
    recipe = recipe_of(folder)
    if recipe.data.name in data.streamed():
        raise RecipeError(
            f"{folder}: a picture's images are decoded whole, but {recipe.data.name} is streamed"
        )
    network = probes.load(folder)
    print(f"{folder}: {network.dataset.title}")
    out.mkdir(parents=True, exist_ok=True)
    for file, (what, draw) in _pictures(network, folder, recipe.arm).items():
        try:
            print(f"{draw().save(out / f'{file}.png')}  {what}", flush=True)
        except (NothingToShow, NotImplementedError) as reason:
            print(f"no {file}: {reason}")
    return 0


def _pictures(
    network: probes.Trained, folder: Path, arm: str
) -> dict[str, tuple[str, Callable[[], Picture]]]:
    """Of each file's name what it shows, and how it is drawn."""
    model, variables, names = network.model, network.variables, network.dataset.class_names
    shown = network.dataset.decoded("validation")
    x, labels = network.prepare(jnp.asarray(shown.images[:IMAGES])), shown.labels[:IMAGES]
    return {
        "filters": (
            "the filters of the first layer",
            lambda: pictures.filters(model, variables, x),
        ),
        "activations": (
            "an image on its way through the layers",
            lambda: pictures.activations(model, variables, x, label=int(labels[0]), names=names),
        ),
        "scores": (
            "the five likeliest classes of some images",
            lambda: pictures.scores(model, variables, x, labels, names),
        ),
        "receptive_field": (
            "what neurons can see of an image, and what of it they heed",
            lambda: pictures.receptive_field(model, variables, x),
        ),
        "equivariance": (
            "where feature maps move with the image, and where the border is in the way",
            lambda: pictures.equivariance(model, variables, x),
        ),
        "saliency": (
            "which pixels the answers hang on",
            lambda: pictures.saliency(model, variables, x),
        ),
        "shift_response": (
            "how error and logits change when images move",
            lambda: pictures.shift_response({arm: probes.shift_responses(network)}),
        ),
        "lesions": ("the error without each block", lambda: _lesions(network)),
        "curves": ("loss and accuracy in training", lambda: curves([folder])),
    }


def _lesions(network: probes.Trained) -> Picture:
    try:
        found = lesion.blocks(network.model, network.dataset.image_shape)
    except ValueError as error:
        raise NothingToShow(str(error).partition(":")[0]) from error
    whole, *errors = probes.lesion_errors(network, [(), *((block.name,) for block in found)])
    return pictures.lesions(found, errors, whole)


if __name__ == "__main__":
    sys.exit(main())
