"""What embeddings of nodes know, from the Gram matrix of the embeddings alone.

    leave_one_out(cosines(gram), labels.number, count=5).mean()
    points, share = principal_axes(gram)
"""

from __future__ import annotations

import numpy as np


def leave_one_out(cosine: np.ndarray, label: np.ndarray, count: int) -> np.ndarray:
    """Whether the label that most of the `count` most similar other nodes have is a node's own; of labels with equally
    many votes, that with the largest sum of cosines.

    Args:
        cosine: of all pairs of nodes, [nodes, nodes].
        label: numbers of labels, [nodes]; nodes with -1 neither vote nor are asked.
        count: how many nodes vote.

    Returns:
        bool [nodes with a label].

    Raises:
        ValueError: if there are not `count` others.
    """
    asked = np.flatnonzero(label >= 0)
    if count >= len(asked):
        raise ValueError(f"{count} nodes cannot vote when {len(asked)} have a label")
    label, cosine = label[asked], cosine[np.ix_(asked, asked)].astype(np.float64)
    np.fill_diagonal(cosine, -np.inf)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    # Cosines of all voters together weigh less than a vote.
    weight = 1 + np.take_along_axis(cosine, near, axis=1) / (2 * count + 1)
    votes = np.zeros((len(asked), label.max() + 1))
    np.add.at(votes, (np.arange(len(asked))[:, None], label[near]), weight)
    return votes.argmax(axis=1) == label


def principal_axes(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors with the Gram matrix `gram` [nodes, nodes] on their two leading principal axes.

    Returns:
        coordinates [nodes, 2], the largest of each axis positive; and the share of the variance on each axis [2].
    """
    centred = gram - gram.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(centred)
    points = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    points *= np.sign(points[np.abs(points).argmax(axis=0), np.arange(2)])
    return points, values[:-3:-1] / values.sum()
