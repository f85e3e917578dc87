"""Boxes against the rule written out, pixels against Pillow."""

import math

import cv2
import numpy as np
import photographs
import pytest
import scipy.stats
from PIL import Image

from cnnlab.data import crops
from cnnlab.data.crops import Box


def box_by_the_rule(random: np.random.Generator, height: int, width: int, smallest: float) -> tuple:
    """Szegedy et al. 2014, section 6, as torchvision draws: area, log of ratio, row, column."""
    for _ in range(10):
        area = (smallest + (1 - smallest) * random.random()) * height * width
        log_ratio = (2 * random.random() - 1) * math.log(4 / 3)
        w = int(np.rint((area * math.e**log_ratio) ** 0.5))
        h = int(np.rint((area / math.e**log_ratio) ** 0.5))
        if 1 <= w <= width and 1 <= h <= height:
            row = random.integers(0, height - h, endpoint=True)
            return row, random.integers(0, width - w, endpoint=True), h, w
    if width / height < 3 / 4:  # too tall: the whole width
        h, w = round(width * 4 / 3), width
    elif width / height > 4 / 3:
        h, w = height, round(height * 4 / 3)
    else:
        h, w = height, width
    return round((height - h) / 2), round((width - w) / 2), h, w


@pytest.mark.parametrize("smallest", [0.08, 0.9])
def test_boxes_are_drawn_by_the_rule(smallest: float) -> None:
    sizes = np.random.default_rng(0).integers(1, 300, (300, 2)).tolist()
    for seed, (height, width) in enumerate(sizes):
        box = crops.random_box(np.random.default_rng(seed), height, width, smallest)
        expected = box_by_the_rule(np.random.default_rng(seed), height, width, smallest)
        assert box == expected, (seed, height, width)
        assert 0 <= box.top <= box.top + box.height <= height
        assert 0 <= box.left <= box.left + box.width <= width


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((10, 1000), Box(0, 494, 10, 13)),
        ((1000, 10), Box(494, 0, 13, 10)),
        ((1, 1), Box(0, 0, 1, 1)),
    ],
)
def test_where_nothing_fits_it_is_the_middle(size: tuple[int, int], box: Box) -> None:
    assert {crops.random_box(np.random.default_rng(i), *size, 0.9) for i in range(9)} == {box}


def test_areas_shapes_and_places_are_uniform() -> None:
    """Among boxes that always fit: below three quarters of a square."""
    random, side = np.random.default_rng(0), 10_000
    boxes = [crops.random_box(random, side, side, 0.08) for _ in range(4000)]
    top, left, height, width = np.array(boxes, float).T
    area = height * width / side**2
    fits = area < 0.75
    uniform = {
        "area": (area[fits] - 0.08) / 0.67,
        "ratio": (np.log(width / height)[fits] / math.log(4 / 3) + 1) / 2,
        "top": (top / (side - height + 1))[fits],
        "left": (left / (side - width + 1))[fits],
    }
    for name, values in uniform.items():
        assert scipy.stats.kstest(values, "uniform").pvalue > 0.01, name
    assert area.min() == pytest.approx(0.08, abs=0.01)
    assert area.max() > 0.9


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("label", [photographs.GREY, photographs.TALL, 5])
def test_colours_are_those_that_pillow_reads(label: int) -> None:
    image = photographs.photograph(label)
    found = crops.decode(photographs.jpeg(image))
    assert found is not None
    assert found.dtype == np.uint8
    assert found.shape == (image.height, image.width, 3)
    assert np.abs(found.astype(int) - pixels(image)).max() < 16
    assert np.abs(found.astype(int) - pixels(image)).mean() < 2
    assert (np.ptp(found, axis=-1) == 0).all() == (label == photographs.GREY)


def test_orientation_is_not_heeded() -> None:
    image, exif = photographs.photograph(5), Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    turned, plain = (photographs.jpeg(image, **more) for more in ({"exif": exif}, {}))
    np.testing.assert_array_equal(crops.decode(turned), crops.decode(plain))


def test_what_is_no_image_is_none() -> None:
    assert crops.decode(b"no image") is None


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (32, 32), (32, 200)])
def test_the_middle_of_what_has_the_right_size_is_cut_out(shape: tuple[int, int]) -> None:
    """28 of 32 pixels are 224 of 256."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    top, left = (shape[0] - 28) // 2, (shape[1] - 28) // 2
    expected = image[top : top + 28, left : left + 28]
    np.testing.assert_array_equal(crops.centre_crop(image, 28), expected)


def test_halved_it_is_the_mean_of_four() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    means = image.reshape(32, 2, 48, 2, 3).mean((1, 3))
    np.testing.assert_allclose(crops.centre_crop(image, 28), means[2:30, 10:38], atol=0.5)


def test_enlarged_it_is_linear() -> None:
    ramp = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None, :, None], 25, 0).repeat(3, 2)
    row = crops.resize(ramp, 50, 50)[25, :, 0]
    expected = np.interp((np.arange(50) + 0.5) / 2 - 0.5, np.arange(25), ramp[0, :, 0])
    np.testing.assert_allclose(row, expected, atol=0.5)


def test_a_random_crop_is_its_box_scaled() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for seed in range(20):
        top, left, height, width = box_by_the_rule(np.random.default_rng(seed), 60, 80, 0.08)
        window = image[top : top + height, left : left + width]
        shrinks = height >= 24 and width >= 24
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        expected = cv2.resize(np.ascontiguousarray(window), (24, 24), interpolation=method)
        found = crops.random_crop(np.random.default_rng(seed), image, 24, 0.08)
        np.testing.assert_array_equal(found, expected)
