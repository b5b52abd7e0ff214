"""What embeddings know, and how much two of them agree, from the Gram matrix of the embeddings alone.

    cosine = cosines(gram)
    mean_score(analogy_hits(cosine, read_analogies("questions-words.txt", vocabulary).questions))
    similarity_score(cosine, read_similarities("wordsim353.tsv", vocabulary))
    agreement(cosine[:500, :500], other[:500, :500]), neighbour_overlap(cosine[:500, :500], other[:500, :500])

Analogies a : b :: c : d are answered by the word w of the largest cos(w, b) - cos(w, a) + cos(w, c), of all words but
a, b and c (Mikolov et al. 2013, arXiv 1301.3781). Similarities: Finkelstein et al. 2002 (WordSim353), by Spearman's
rank correlation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from word2vec.corpus import Vocabulary

BLOCK = 256


@dataclass(frozen=True)
class Score:
    """A value, its standard error, and the number of items behind it; NaN where there are too few items."""

    value: float
    error: float
    count: int


def cosines(gram: np.ndarray) -> np.ndarray:
    """The cosines of vectors with the Gram matrix `gram`, both [words, words]; float32, 0 with a vector that is 0."""
    squares = np.diagonal(gram).astype(np.float64)
    scale = np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    cosine = np.empty(gram.shape, dtype=np.float32)
    for rows in _blocks(len(gram)):
        cosine[rows] = gram[rows] * scale[rows, None] * scale
    return cosine


# --- analogies -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Analogies:
    """Questions a : b :: c : d.

    Attributes:
        questions: numbers of the words, [questions, 4].
        section: the number of each one's section, [questions].
        names: the sections.
        total: how many questions the file has, with those that have a word outside the vocabulary.
    """

    questions: np.ndarray
    section: np.ndarray
    names: tuple[str, ...]
    total: int


def read_analogies(path: Path, vocabulary: Vocabulary) -> Analogies:
    """The questions whose words are in the vocabulary, from a file in the format of questions-words.txt.

    Raises:
        ValueError: for a line that is neither a section nor four words.
    """
    names: list[str] = []
    questions: list[list[int]] = []
    section: list[int] = []
    total = 0
    for number, line in _lines(path):
        if line.startswith(":"):
            names.append(line[1:].strip())
            continue
        words = line.lower().split()
        if len(words) != 4 or not names:
            raise ValueError(f"{path}:{number}: expected `: section` or four words, found {line!r}")
        total += 1
        if all(word in vocabulary.index for word in words):
            questions.append([vocabulary.index[word] for word in words])
            section.append(len(names) - 1)
    return Analogies(np.array(questions, dtype=np.intp).reshape(-1, 4), np.array(section, dtype=np.intp), tuple(names),
                     total)


def analogy_hits(cosine: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Which of the `questions` [questions, 4] are answered correctly, bool [questions]."""
    hits = np.empty(len(questions), dtype=bool)
    for rows in _blocks(len(questions)):
        a, b, c, d = questions[rows].T
        score = cosine[b] - cosine[a] + cosine[c]
        np.put_along_axis(score, questions[rows, :3], -np.inf, axis=1)
        hits[rows] = score.argmax(axis=1) == d
    return hits


def section_scores(hits: np.ndarray, analogies: Analogies) -> dict[str, Score]:
    """The share of correct answers in each section that has questions, from `hits` [questions]."""
    return {name: mean_score(hits[analogies.section == number]) for number, name in enumerate(analogies.names)
            if (analogies.section == number).any()}


def mean_score(items: np.ndarray) -> Score:
    """The mean of `items` [items] with its standard error."""
    count = len(items)
    value = float(items.mean()) if count else np.nan
    return Score(value, float(items.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan, count)


# --- similarities --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Similarities:
    """Pairs of words judged by people.

    Attributes:
        pairs: numbers of the words, [pairs, 2].
        judged: how similar people find them, [pairs].
        total: how many pairs the file has, with those that have a word outside the vocabulary.
    """

    pairs: np.ndarray
    judged: np.ndarray
    total: int


def read_similarities(path: Path, vocabulary: Vocabulary) -> Similarities:
    """The pairs whose words are in the vocabulary, from lines of two words and a number; # starts a comment.

    Raises:
        ValueError: for another line.
    """
    pairs: list[list[int]] = []
    judged: list[float] = []
    total = 0
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        try:
            first, second, value = line.lower().split()
            similarity = float(value)
        except ValueError:
            raise ValueError(f"{path}:{number}: expected two words and a number, found {line!r}") from None
        total += 1
        if first in vocabulary.index and second in vocabulary.index:
            pairs.append([vocabulary.index[first], vocabulary.index[second]])
            judged.append(similarity)
    return Similarities(np.array(pairs, dtype=np.intp).reshape(-1, 2), np.array(judged), total)


def similarity_score(cosine: np.ndarray, similarities: Similarities, resamples: int = 1000, seed: int = 0) -> Score:
    """Spearman's correlation of cosines and judgements, with a standard error by the bootstrap over pairs."""
    found = cosine[tuple(similarities.pairs.T)]
    count = len(found)
    if count < 3:
        return Score(np.nan, np.nan, count)
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(count, size=count) for _ in range(resamples))
    again = [spearman(found[rows], similarities.judged[rows]) for rows in drawn]
    return Score(spearman(found, similarities.judged), float(np.nanstd(again, ddof=1)), count)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of the ranks of two samples [items], ties with their mean rank; NaN if a sample is constant."""
    return _correlation(_ranks(first), _ranks(second))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


# --- two runs ------------------------------------------------------------------------------------------------


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation over all pairs of words of the cosines [words, words] of two runs."""
    pairs = np.triu_indices(len(first), 1)
    return _correlation(first[pairs].astype(np.float64), second[pairs].astype(np.float64))


def neighbour_overlap(first: np.ndarray, second: np.ndarray, count: int = 10) -> float:
    """The share of a word's `count` nearest neighbours in one run that are so in the other, mean over words.

    Args:
        first: cosines [words, words] of one run.
        second: those of the other.
        count: how many neighbours; less than the number of words.
    """
    shared = 0
    for rows in _blocks(len(first)):
        near, other = (_neighbours(cosine, rows, count) for cosine in (first, second))
        shared += int((near[:, :, None] == other[:, None, :]).sum())
    return shared / (len(first) * count)


def _neighbours(cosine: np.ndarray, rows: slice, count: int) -> np.ndarray:
    """The nearest neighbours of the words `rows`, [rows, count], without the words themselves."""
    block = cosine[rows].copy()
    itself = np.arange(len(cosine))[rows]
    block[np.arange(len(itself)), itself] = -np.inf
    return np.argpartition(-block, count - 1, axis=1)[:, :count]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    size = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / size) if size > 0 else np.nan


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not blank, with their numbers."""
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
