"""A run as plain data, for a page to draw: how it goes, and the last snapshot of its network."""

import base64
import json
import math
import time
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from cnnlab.analysis.trace import spread
from cnnlab.data import Dataset
from cnnlab.training.journal import Journal
from cnnlab.training.optimizer import learning_rate
from cnnlab.training.program import Program, build_model
from cnnlab.training.recipe import Recipe
from cnnlab.training.snapshot import Camera, Snapshot, Volume
from cnnlab.training.state import State

_POINTS = 400  # of a curve
_CURVES = ("train_loss", "validation_loss", "train_error", "validation_error")
_SCORES = 3  # of an image, the largest


class Scene:
    """One attempt at a run, from the step it begins or resumes at."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        program: Program,
        state: State,
        journal: Journal,
    ):
        self._plan, self._journal, self._dataset = program.plan, journal, dataset
        self._batch_size, self._step = recipe.train.batch_size, int(state.step)
        self._status, self._reason = "training", ""
        self._drawn: tuple[Snapshot | None, str] = None, ""
        self._camera = Camera(
            build_model(recipe.model, dataset.classes), program.feed, self._step, state
        )
        steps = np.linspace(0, self._plan.steps - 1, min(self._plan.steps, _POINTS)).astype(int)
        rates = np.asarray(jax.vmap(learning_rate(recipe, self._plan))(steps), float)
        self._about = {
            "run": time.time(),  # tells it from the one before
            "title": f"{recipe.arm or recipe.model.name}, seed {recipe.seed}",
            "data": dataset.title,
            "net": recipe.model.name,
            "steps": self._plan.steps,
            "steps_per_epoch": self._plan.steps_per_epoch,
            "learning_rate": list(zip(steps.tolist(), rates.tolist(), strict=True)),
        }

    def look(self, step: int, state: State) -> None:
        """Between two steps: how many are done, and the state they have come to."""
        self._step = step
        last = step == self._plan.steps
        (self._camera.finish if last else self._camera.look)(step, state)

    def end(self, status: str, reason: str) -> None:
        """There are no more steps: `status` is "ended", or "stopped" for a `reason`."""
        self._status, self._reason = status, reason

    def metrics(self) -> str:
        """How the run goes, tens of kilobytes of JSON."""
        lines = list(self._journal.lines)
        rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
        left = (self._plan.steps - self._step) * self._batch_size
        state = {
            "status": self._status,
            "reason": self._reason,
            "step": self._step,
            "images_per_second": rates[-1] if rates else None,
            "seconds_left": left / rates[-1] if rates else None,
            "curves": {name: _curve(lines, name) for name in _CURVES},
            "picture": self._camera.last.step,
        }
        return _json(self._about | state)

    def picture(self) -> str:
        """The last snapshot, up to two megabytes of JSON, written once for all who ask."""
        seen = self._camera.last
        if self._drawn[0] is not seen:
            self._drawn = seen, _json(self._picture(seen))
        return self._drawn[1]

    def _picture(self, seen: Snapshot) -> dict[str, Any]:
        """Pixels are bytes in base64."""
        images, labels = self._camera.images
        names = self._dataset.class_names
        return {
            "step": seen.step,
            "images": [
                {"label": names[label], "scores": _largest(scores, names)} | pixels
                for label, scores, pixels in zip(labels, seen.scores, _images(images), strict=True)
            ],
            "filters": None if seen.filters is None else _filters(seen.filters),
            "volumes": [_volume(volume) for volume in seen.volumes],
        }


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, allow_nan=False, separators=(",", ":"))


def _curve(lines: list[dict[str, float]], name: str) -> list[tuple[float, float]]:
    """The points (step, value) that are numbers; of many, as many as can be told apart."""
    points = [
        (line["step"], line[name]) for line in lines if math.isfinite(line.get(name, math.nan))
    ]
    return spread(points, _POINTS)


def _largest(scores: NDArray[np.float32], names: tuple[str, ...]) -> list[tuple[str, float]]:
    finite = np.nan_to_num(scores.astype(float))
    order = np.argsort(-finite, kind="stable")[:_SCORES]
    return [(names[place], float(finite[place])) for place in order]


def _images(images: NDArray[Any]) -> list[dict[str, Any]]:
    """Each as stored; images that are no pixels any more, from black at their least to white."""
    shown = images if images.dtype == np.uint8 else _bytes(images, images.min(), images.max())
    _, height, width, channels = images.shape
    size = {"height": height, "width": width, "channels": channels}
    return [size | {"pixels": _base64(image)} for image in shown]


def _filters(kernel: NDArray[np.float32]) -> dict[str, Any]:
    """kernel [F, F, C, K] as K pictures, all from black at its least weight to white."""
    weights = _finite(kernel)
    low, high = weights.min(), weights.max()
    height, width, channels, number = weights.shape
    return {
        **{"height": height, "width": width, "channels": channels, "number": number},
        **{"low": float(low), "high": float(high)},
        "pixels": _base64(_bytes(weights.transpose(3, 0, 1, 2), low, high)),
    }


def _volume(volume: Volume) -> dict[str, Any]:
    """Each image's maps, every one from black at its least activation to white at its largest."""
    maps = _finite(volume.maps).transpose(0, 3, 1, 2)
    _, number, height, width = maps.shape
    low, high = (end(maps, axis=(2, 3), keepdims=True) for end in (np.min, np.max))
    return {
        **{"layer": volume.layer, "name": volume.name, "shape": volume.shape},
        **{"height": height, "width": width, "number": number},
        "ranges": [(float(each.min()), float(each.max())) for each in maps],
        "pixels": [_base64(each) for each in _bytes(maps, low, high)],
    }


def _finite(array: NDArray[Any]) -> NDArray[np.float64]:
    """In a run that diverges, what is no number is shown as 0."""
    return np.nan_to_num(array.astype(float), posinf=0.0, neginf=0.0)


def _bytes(array: NDArray[Any], low: Any, high: Any) -> NDArray[np.uint8]:
    """From 0 at `low` to 255 at `high`; all 0 where these are one."""
    return np.rint(255 * (array - low) / np.where(high > low, high - low, 1)).astype(np.uint8)


def _base64(array: NDArray[np.uint8]) -> str:
    return base64.b64encode(array.tobytes()).decode()
