"""Image augmentation on the device, as openpi trains: crop, small rotation, colour; every row and camera has its own draw.

Crop and rotation are one bilinear sampling. Wrist cameras keep their geometry, which says where the hand is; colour changes for
all. Draws depend on the row's place in the whole batch, so that cutting it into microbatches changes no pixel.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax import Array

from train.config import AugmentConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(key: Array, images: Array, config: AugmentConfig, wrist: tuple[bool, ...]) -> Array:
    """Changed images.

    Args:
        key: draws the changes.
        images: (B, C, S, S, 3) float32 in [-1, 1].
        config: how large the changes are.
        wrist: per camera, whether it is a wrist camera.

    Returns:
        As `images`.
    """
    b, cameras = images.shape[:2]
    keys = jax.random.split(key, (b, cameras))
    fixed = jnp.broadcast_to(jnp.asarray(wrist or (False,) * cameras), (b, cameras))
    return jax.vmap(jax.vmap(lambda k, x, f: one(k, x, config, f)))(keys, images, fixed)


def one(key: Array, image: Array, config: AugmentConfig, fixed: Array) -> Array:
    """One image.

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
    """A crop that is turned and scaled back up; edges are continued.

    Args:
        image: (S, S, 3).
        shift: (2,) in [-1, 1], where the crop lies: down, right.
        turn: () in [-1, 1], share of the largest rotation.
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
    """(S, S, 3) -> (S, S, 1) luma."""
    return (unit @ jnp.asarray(LUMA, unit.dtype))[..., None]


def mix(image: Array, other: Array, share: Array) -> Array:
    """`share` of the image, the rest of the other; a share over 1 goes away from it."""
    return other + share * (image - other)
