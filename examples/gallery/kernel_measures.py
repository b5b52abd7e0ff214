"""What kernels of P points are measured by."""

from __future__ import annotations

import numpy as np


def alignment(kernel: np.ndarray, labels: np.ndarray) -> float:
    """Centred alignment of a kernel [P, P] with that of the labels [P]: 1 if it tells points apart by the labels alone
    (Cortes, Mohri and Rostamizadeh, arXiv 1203.0550)."""
    centred = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
    centred_labels = labels - labels.mean()
    along = centred_labels @ centred @ centred_labels / (centred_labels @ centred_labels)
    return float(along / np.linalg.norm(centred))


def effective_rank(kernel: np.ndarray) -> float:
    """The exponential of the entropy of the eigenvalues (Roy and Vetterli 2007): P for the identity, 1 for rank one."""
    values = np.clip(np.linalg.eigvalsh(kernel), 0, None)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def prediction(kernel: np.ndarray, labels: np.ndarray, ridge: float = 1e-6) -> np.ndarray:
    """What kernel regression on the first points, whose labels are given, says of the others."""
    known = len(labels)
    return kernel[known:, :known] @ np.linalg.solve(kernel[:known, :known] + ridge * np.eye(known), labels)
