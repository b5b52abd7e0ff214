"""Images of 3 and 8, from the UCI ML hand-written digits data set as scikit-learn ships it (CC BY 4.0).

`python examples/gallery/digits.py` writes the file again; it needs scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("digits_3_8.npz")
COUNT = 200


def load() -> tuple[np.ndarray, np.ndarray]:
    """200 images [200, 64] of squared norm 64, and labels: 1 for an 8, -1 for a 3."""
    with np.load(FILE) as file:
        images, labels = file["X"].astype(float), file["y"].astype(float)
    return images * np.sqrt(images.shape[1] / (images**2).sum(1, keepdims=True)), labels


def write() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero((labels == 3) | (labels == 8))[:COUNT]
    np.savez_compressed(FILE, X=images[chosen].astype(np.uint8), y=np.where(labels[chosen] == 8, 1, -1).astype(np.int8))


if __name__ == "__main__":
    write()
