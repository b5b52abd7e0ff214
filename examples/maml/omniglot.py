"""Handwritten characters of Omniglot, read from the archives `images_background*.zip`.

    characters = load("images_background_small1.zip", rotations=4)
    characters.images                [classes * drawings, 784], the drawings of a class side by side

Data: Lake, Salakhutdinov and Tenenbaum (2015), https://github.com/brendenlake/omniglot, MIT licence.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE = 28


@dataclass(frozen=True)
class Characters:
    """Drawings of characters.

    Attributes:
        images: [classes * drawings, SIDE * SIDE], ink 1 and background 0; class c has the rows
            c * drawings .. (c + 1) * drawings - 1.
        names: alphabet, character and rotation of each class.
        drawings: how many there are of a class.
    """

    images: np.ndarray
    names: tuple[str, ...]
    drawings: int

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.names)


def load(path: str | os.PathLike[str], rotations: int = 1, cache: str | os.PathLike[str] | None = None) -> Characters:
    """The characters of an archive.

    Args:
        rotations: 1, or 4 to add each character turned by 90, 180 and 270 degrees, as classes of their own.
        cache: an npz file that keeps the unrotated images; it is written if it does not exist.

    Raises:
        ValueError: for an archive without characters, or whose characters differ in their number of drawings.
    """
    if rotations not in (1, 2, 3, 4):
        raise ValueError(f"rotations must be 1, 2, 3 or 4, not {rotations}")
    images, names = _cached(path, Path(cache)) if cache is not None else _read(path)
    turned = np.concatenate([np.rot90(images, r, axes=(2, 3)) for r in range(rotations)])
    labels = tuple(name if r == 0 else f"{name}/{90 * r}" for r in range(rotations) for name in names)
    return Characters(np.ascontiguousarray(turned).reshape(-1, SIDE * SIDE), labels, images.shape[1])


def _cached(path: str | os.PathLike[str], cache: Path) -> tuple[np.ndarray, list[str]]:
    if cache.exists():
        with np.load(cache) as kept:
            return kept["images"], [str(name) for name in kept["names"]]
    images, names = _read(path)
    np.savez_compressed(cache, images=images, names=names)
    return images, names


def _read(path: str | os.PathLike[str]) -> tuple[np.ndarray, list[str]]:
    """Images [characters, drawings, SIDE, SIDE] and the characters' names."""
    with zipfile.ZipFile(path) as archive:
        files: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                folder = "/".join(name.split("/")[-3:-1])
                files.setdefault(folder, []).append(name)
        if len({len(drawings) for drawings in files.values()}) != 1:
            raise ValueError(f"{path}: expected folders alphabet/character with equally many PNG files in each")
        images = [[_shrink(_ink(archive.read(name))) for name in drawings] for drawings in files.values()]
    return np.array(images), list(files)


def _ink(png: bytes) -> np.ndarray:
    """The drawing with ink 1 on a background of 0 (the files are black on white)."""
    from matplotlib.image import imread

    grey = imread(io.BytesIO(png))
    return 1.0 - (grey if grey.ndim == 2 else grey[..., 0])


def _shrink(image: np.ndarray) -> np.ndarray:
    rows, columns = (_bilinear(size, SIDE) for size in image.shape)
    return rows @ image @ columns.T


def _bilinear(size: int, target: int) -> np.ndarray:
    """Weights [target, size] of a bilinear reduction: a triangle as wide as two target pixels round each centre."""
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None]) / scale
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)
