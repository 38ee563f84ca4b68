"""Augments images on the device, as openpi does: crop, small rotation and colour. Every row and camera has its own random draw.

Crop and rotation are one bilinear sampling. Images of wrist cameras keep their geometry, because it shows where the hand is. So
do images in which a text names places, such as boxes. The colours of all images change. A draw depends on the row's place in the
whole batch, so splitting the batch into microbatches changes no pixel.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from train.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(
    key: Array, images: Array, config: AugmentConfig, wrist: tuple[bool, ...], located: Array | None = None
) -> Array:
    """Returns changed images.

    Args:
        key: draws the changes.
        images: (B, C, S, S, 3) float32 in [-1, 1].
        config: how large the changes are.
        wrist: per camera, whether it is a wrist camera.
        located: (B,) bool, whether a row's texts name places in its images; None: no row's texts do.

    Returns:
        As `images`.
    """
    b, cameras = images.shape[:2]
    keys = jax.random.split(key, (b, cameras))
    fixed = jnp.broadcast_to(jnp.asarray(wrist or (False,) * cameras), (b, cameras))
    if located is not None:
        fixed |= located[:, None]
    return jax.vmap(jax.vmap(lambda k, x, f: one(k, x, config, f)))(keys, images, fixed)


def one(key: Array, image: Array, config: AugmentConfig, fixed: Array) -> Array:
    """Changes one image.

    Args:
        key: draws the changes.
        image: (S, S, 3).
        config: how large the changes are.
        fixed: () bool, whether the image keeps its geometry.

    Returns:
        As `image`.
    """
    draws = jax.random.uniform(key, (6,), minval=-1.0, maxval=1.0)
    out = jnp.where(fixed, image, move(image, draws[:2], draws[2], config))
    unit = (out + 1) / 2
    unit = unit * (1 + config.brightness * draws[3])
    unit = mix(unit, jnp.mean(grey(unit)), 1 + config.contrast * draws[4])
    unit = mix(unit, grey(unit), 1 + config.saturation * draws[5])
    return jnp.clip(unit, 0.0, 1.0) * 2 - 1


def move(image: Array, shift: Array, turn: Array, config: AugmentConfig) -> Array:
    """Returns a rotated crop, scaled back up to the size of the image. Outside the image, the nearest edge pixel is repeated.

    Args:
        image: (S, S, 3).
        shift: (2,) in [-1, 1], position of the crop: down, right.
        turn: () in [-1, 1], rotation as a share of the largest one.
        config: side of the crop, and the largest rotation.

    Returns:
        As `image`.
    """
    size = image.shape[0]
    place = (jnp.arange(size) + 0.5) / size * 2 - 1  # pixel centres in [-1, 1]
    y, x = jnp.meshgrid(place, place, indexing="ij")
    angle = turn * jnp.deg2rad(config.rotation)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    centre = (1 - config.crop) * shift
    y, x = config.crop * (cos * y - sin * x) + centre[0], config.crop * (sin * y + cos * x) + centre[1]
    at = [((z + 1) / 2 * size - 0.5).ravel() for z in (y, x)]

    def sample(channel: Array) -> Array:
        return cast(Array, jax.scipy.ndimage.map_coordinates(channel, at, order=1, mode="nearest"))

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image).reshape(image.shape)


def grey(unit: Array) -> Array:
    """Returns the luma of an image: (S, S, 3) -> (S, S, 1)."""
    return (unit @ jnp.asarray(LUMA, unit.dtype))[..., None]


def mix(image: Array, other: Array, share: Array) -> Array:
    """Blends `share` of the image with 1 - `share` of `other`; a share above 1 moves the image away from `other`."""
    return other + share * (image - other)
