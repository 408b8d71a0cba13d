"""Fractal images: every class an iterated function system, every image one drawing of it.

An iterated function system is a handful of contractions f_1, ..., f_n of the plane; there is one
compact set K with K = f_1(K) u ... u f_n(K) (Hutchinson 1981, Indiana Univ. Math. J. 30, 713), and
random walks through the maps fill it (Barnsley 1988, Fractals Everywhere). That such images can
teach a network is the finding of Kataoka et al. (ACCV 2020) and Anderson & Farrell (WACV 2022).

The plane is that of the complex numbers: f(z) = u z + v conj(z) + w is any affine map, stretches
by |u| + |v| at most and by ||u| - |v|| at least, and scales areas by ||u|^2 - |v|^2|.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from geobasin.errors import GeoBasinError

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

SPLITS = ("train", "val")

# Streams of one seed; a class and an image never share random numbers.
_CLASS_STREAM = 0
_IMAGE_STREAM = 1

# A walk nears the attractor before it is drawn; what is left of its start is below a pixel.
_LEAD_IN = 10
_DRAWN = 20


@dataclass(frozen=True)
class IteratedFunctionSystem:
    """Contractions f(z) = u z + v conj(z) + w, each with the chance that a walk takes it.

    Attributes:
        u: ``[n]``, complex.
        v: ``[n]``, complex; |u| + |v| < 1.
        w: ``[n]``, complex.
        chance: ``[n]``, in [0,1], sum 1; proportional to the area that a map leaves.
    """

    u: Complex
    v: Complex
    w: Complex
    chance: Floats

    def points(self, rng: np.random.Generator, walkers: int) -> Complex:
        """Walk through the maps and note where the steps lead.

        Args:
            rng: the source of chance.
            walkers: number of walks, all begun at 0.

        Returns:
            Points of the attractor, to within a pixel, complex ``[20 * walkers]``.
        """
        edges = np.cumsum(self.chance)[:-1]
        draws = rng.random((_LEAD_IN + _DRAWN, walkers))
        place = np.zeros(walkers, dtype=np.complex128)
        trail = []
        for taken in np.searchsorted(edges, draws, side="right"):
            place = self.u[taken] * place + self.v[taken] * place.conj() + self.w[taken]
            trail.append(place)
        return np.concatenate(trail[_LEAD_IN:])

    def jittered(self, rng: np.random.Generator) -> "IteratedFunctionSystem":
        """A close relative: every map turned, scaled and moved a little.

        Args:
            rng: the source of chance.

        Returns:
            A system whose attractor looks like this one's, but is not the same.
        """
        count = len(self.chance)
        turn = rng.uniform(0.92, 1.08, count) * np.exp(1j * rng.uniform(-0.08, 0.08, count))
        w = self.w + _complex(rng.normal(0.0, 0.04, (count, 2)))
        return IteratedFunctionSystem(turn * self.u, turn * self.v, w, self.chance)


def draw_system(seed: int, label: int) -> IteratedFunctionSystem:
    """Draw the iterated function system of a class.

    Args:
        seed: of the whole collection, at least 0.
        label: the class, from 0.

    Returns:
        Two to four maps whose attractor is neither a speck nor a line; its points have mean about
        0 and root-mean-square size about 1, so that size and place do not tell classes apart.
    """
    rng = np.random.default_rng([seed, _CLASS_STREAM, label])
    while True:
        count = int(rng.integers(2, 5))
        most = rng.uniform(0.35, 0.8, count)
        least = most * rng.uniform(0.3, 1.0, count) * rng.choice([-1.0, 1.0], count)
        turn, mirror = np.exp(1j * rng.uniform(-np.pi, np.pi, (2, count)))
        u, v = turn * (most + least) / 2, mirror * (most - least) / 2
        w = _complex(rng.uniform(-1.0, 1.0, (count, 2)))
        areas = np.abs(most * least)
        chance = areas / areas.sum()
        points = IteratedFunctionSystem(u, v, w, chance).points(rng, walkers=256)
        centre = points.mean()
        variance = np.mean(np.abs(points - centre) ** 2)
        # The variances along the principal axes are (variance + lean) / 2, (variance - lean) / 2.
        lean = np.abs(np.mean((points - centre) ** 2))
        # Less area than this is dust and more a blot; so long and thin a shape is a line.
        if 0.5 < areas.sum() < 1.2 and lean < 0.75 * variance:
            w = (u * centre + v * centre.conj() + w - centre) / np.sqrt(variance)
            return IteratedFunctionSystem(u, v, w, chance)


def render(
    system: IteratedFunctionSystem, rng: np.random.Generator, image_size: int
) -> NDArray[np.uint8]:
    """Draw one image of a system: its shape jittered, turned any way, moved, scaled and coloured.

    Ink and paper take any two hues, dark on light as often as light on dark, so that no pixel by
    itself, and no sum of pixels, says much about the class.

    Args:
        system: the class.
        rng: the source of chance; all of the image comes from it.
        image_size: side S in pixels.

    Returns:
        The image, ``[S, S, 3]``, 0 to 255.
    """
    # Some four points a pixel: fewer leave holes, and past a certain fineness none are seen.
    walkers = min(image_size**2 // 5 + 100, 10_000)
    points = system.jittered(rng).points(rng, walkers)
    points -= points.mean()
    points /= np.sqrt(np.mean(np.abs(points) ** 2))
    size = 0.27 * rng.uniform(0.75, 1.15)
    points *= size * np.exp(1j * rng.uniform(-np.pi, np.pi))
    points += _complex(0.5 + rng.uniform(-0.12, 0.12, 2))
    columns = np.floor(points.real * image_size).astype(np.int64)
    rows = np.floor(points.imag * image_size).astype(np.int64)
    inside = (columns >= 0) & (columns < image_size) & (rows >= 0) & (rows < image_size)
    columns, rows = columns[inside], rows[inside]
    hits = np.bincount(rows * image_size + columns, minlength=image_size**2)
    even = len(points) / image_size**2
    ink = 1.0 - np.exp(-hits.reshape(image_size, image_size, 1) / (1.5 * even))
    dark, light = rng.uniform(0.0, 0.35), rng.uniform(0.65, 1.0)
    values = (dark, light) if rng.random() < 0.5 else (light, dark)
    below, above = (
        255.0 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.8), value))
        for value in values
    )
    image = below + (above - below) * ink + rng.normal(0.0, 8.0, (image_size, image_size, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


class FractalImages(Dataset[tuple[Tensor, int]]):
    """Fractal images made when they are asked for; image i depends on seed, split and i alone.

    Args:
        length: number of images N; classes take turns, so that they are balanced.
        image_size: side S in pixels.
        seed: draws the classes and the images, at least 0.
        split: ``"train"`` or ``"val"``; the two share classes and no image.
        classes: number of classes C.

    Attributes:
        labels: ``[N]`` int64.

    Raises:
        GeoBasinError: a negative seed or an unknown split.
    """

    def __init__(
        self, length: int, image_size: int, seed: int, split: str, classes: int = 10
    ) -> None:
        if seed < 0:
            raise GeoBasinError(f"seed {seed} for fractal images is negative; use 0 or more")
        if split not in SPLITS:
            raise GeoBasinError(f"no split {split!r} of fractal images; use one of {SPLITS}")
        self.image_size = image_size
        self.labels = torch.arange(length) % classes
        self._systems = [draw_system(seed, label) for label in range(classes)]
        self._stream = (seed, _IMAGE_STREAM, SPLITS.index(split))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Draw one image.

        Args:
            index: 0 to N - 1.

        Returns:
            The image, ``[3, S, S]`` uint8, and its class.
        """
        label = int(self.labels[index])
        rng = np.random.default_rng([*self._stream, index % len(self)])
        image = render(self._systems[label], rng, self.image_size)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), label


def _complex(pairs: Floats) -> Complex:
    """The complex numbers, ``[...]``, whose real and imaginary parts are pairs, ``[..., 2]``."""
    numbers: Complex = np.ascontiguousarray(pairs).view(np.complex128)[..., 0]
    return numbers
