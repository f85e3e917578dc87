"""Normalisation and augmentation as pure functions, to run inside the jitted step."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike


def normalise(
    images: ArrayLike, mean: ArrayLike | None = None, std: ArrayLike | None = None
) -> jax.Array:
    """Scale pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Args:
        images: uint8 [N, H, W, C]; or, with no mean and std, float32 images that were prepared
            before (`open_dataset(..., preprocess=...)`), which are returned as they are.
        mean: float32 [C], as `channel_statistics` returns it (units of [0, 1] pixels).
        std: float32 [C], in the same units.

    Returns:
        float32 [N, H, W, C].
    """
    images = jnp.asarray(images)
    if mean is None or std is None:
        return images
    return (images.astype(jnp.float32) / 255.0 - jnp.asarray(mean)) / jnp.asarray(std)


def augment(
    key: jax.Array,
    images: ArrayLike,
    mean: ArrayLike | None,
    std: ArrayLike | None,
    *,
    crop_padding: int = 0,
    flip: bool = False,
    cutout: int = 0,
    reflect: bool = False,
    mirrored: ArrayLike | None = None,
) -> jax.Array:
    """Crop, mirror, normalise and cut out every image at random.

    What happens to an image depends on `key` and on its index in the batch, on nothing else: not
    on the size of the batch, and one option does not change the draws of another. With all options
    off this is `normalise`.

    Args:
        key: A JAX random key.
        images: uint8 [N, H, W, C], or float32 as in `normalise`.
        mean: float32 [C], units of [0, 1] pixels; None for float32 images.
        std: float32 [C], in the same units; None for float32 images.
        crop_padding: Pixels of zeros put on each side of the normalised image (so the padding has
            the mean colour) before a window of [H, W] is cut at one of (2 crop_padding + 1)^2
            equally likely places. He et al. 2015 (arXiv:1512.03385), section 4.2, pads 4.
        flip: Whether to mirror left to right with probability one half.
        cutout: Side in pixels of a square of zeros whose centre is uniform over the image's
            pixels; what sticks out over the border is lost (DeVries and Taylor 2017,
            arXiv:1708.04552). An even square reaches one pixel further up and left. An odd one is
            cut whole; the authors' code halves the side, rounding down, and cuts one pixel less.
        reflect: Whether the padding is what lies inside, mirrored at the border's pixels, and not
            zeros (Jordan 2024, arXiv:2404.00498).
        mirrored: bool [N], the images to mirror where `flip` is on, in the place of its coins.

    Returns:
        float32 [N, H, W, C].

    Raises:
        ValueError: If `crop_padding` or `cutout` is negative, or `images` not [N, H, W, C] in
            uint8 (with a mean) or float32 (without), or smaller than what they are to mirror.
    """
    images = jnp.asarray(images)
    _check(images, jnp.float32 if mean is None else jnp.uint8, crop_padding, cutout, reflect)
    number, height, width, _ = images.shape
    rows, columns, mirror, *centre = _draw(key, number)
    keep = jnp.ones((number, height, width), bool)
    if crop_padding or flip:
        rows = _shifted(rows, height, crop_padding, reflect)
        columns = _shifted(columns, width, crop_padding, reflect)
        if flip:
            turned = mirror < 0.5 if mirrored is None else jnp.asarray(mirrored)[:, None]
            columns = jnp.where(turned, columns[:, ::-1], columns)
        keep &= _rectangle(_inside(rows, height), _inside(columns, width))
        images = _gather(images, rows, columns)
    if cutout:
        keep &= ~_rectangle(_cut(centre[0], height, cutout), _cut(centre[1], width, cutout))
    return jnp.where(keep[..., None], normalise(images, mean, std), 0.0)


def _check(
    images: jax.Array, dtype: DTypeLike, crop_padding: int, cutout: int, reflect: bool
) -> None:
    if images.dtype != dtype or images.ndim != 4:
        wanted = f"{jnp.dtype(dtype).name} [N, H, W, C]"
        raise ValueError(f"images must be {wanted}, got {images.dtype} {images.shape}")
    for name, value in (("crop_padding", crop_padding), ("cutout", cutout)):
        if value < 0:
            raise ValueError(f"{name} must be 0 (off) or a number of pixels, got {value}")
    height, width = images.shape[1:3]
    if reflect and crop_padding >= min(height, width):
        raise ValueError(f"images of {height}x{width} have no {crop_padding} pixels to mirror")


def _draw(key: jax.Array, number: int) -> list[jax.Array]:
    """Draw five numbers in [0, 1) for every image, each float32 [N, 1], from one key an image."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(number))
    draws = jax.vmap(lambda image_key: jax.random.uniform(image_key, (5,)))(keys)
    return jnp.split(draws, 5, axis=1)


def _integers(draws: jax.Array, low: int, high: int) -> jax.Array:
    """Turn draws from [0, 1) into integers low..high-1."""
    return low + jnp.floor(draws * (high - low)).astype(jnp.int32)


def _shifted(draws: jax.Array, size: int, padding: int, reflect: bool) -> jax.Array:
    """Which pixels of an axis, padded, a window shows: int32 [N, size], out of range in zeros."""
    index = jnp.arange(size) + _integers(draws, -padding, padding + 1)
    return _reflected(index, size) if reflect else index


def _cut(draws: jax.Array, size: int, cutout: int) -> jax.Array:
    """Which of an axis's pixels lie in a cut around a pixel drawn at random: bool [N, size]."""
    return _inside(jnp.arange(size) - _integers(draws, 0, size) + cutout // 2, cutout)


def _rectangle(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Mark the pixels in the marked rows [N, H] and columns [N, W]: bool [N, H, W]."""
    return rows[:, :, None] & columns[:, None, :]


def _inside(index: jax.Array, size: int) -> jax.Array:
    return (index >= 0) & (index < size)


def _reflected(index: jax.Array, size: int) -> jax.Array:
    """... 2, 1, 0, 1, 2 ...: an index beyond the first or last comes back from it."""
    return size - 1 - jnp.abs(size - 1 - jnp.abs(index))


def _gather(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Pick rows [N, H] and columns [N, W] of each image; out of range, the nearest edge's pixel."""
    number, height, width, _ = images.shape
    rows = jnp.clip(rows, 0, height - 1)
    columns = jnp.clip(columns, 0, width - 1)
    return images[jnp.arange(number)[:, None, None], rows[:, :, None], columns[:, None, :]]
