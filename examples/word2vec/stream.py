"""The training stream: which words, contexts and negative samples, in which order and at which rate.

Follows `word2vec.c` of the paper's public code (edwardjhu/TP4), but for its random numbers: the corpus is one line, cut
anew in every epoch into sentences of 1000 words that survive subsampling; the context of a word is up to b words on
either side in its sentence, with b uniform from 1 to `window`; negative samples come from the counts to the power 3/4,
and those equal to the word are skipped. The whole stream comes from one random generator, so that runs at all widths,
and the limit, see the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from word2vec.corpus import Vocabulary

SENTENCE = 1000
LEAST_RATE = 1e-4
NOISE_POWER = 0.75
BLOCK = 1 << 15


@dataclass(frozen=True)
class Settings:
    """How the stream is drawn.

    Attributes:
        epochs: how often the corpus is read.
        seed: of the random generator.
        window: the largest number of context words on either side.
        negative: negative samples of each word.
        sample: the threshold of subsampling; 0 keeps every word.
        rate: the learning rate at the start, which falls linearly to 1e-4 of it.
        rate_every: the rate is only renewed after so many words of the corpus; the public code has 500,000.
        sentence: how many words, after subsampling, make a sentence; contexts do not reach beyond it.
    """

    epochs: int = 5
    seed: int = 0
    window: int = 8
    negative: int = 25
    sample: float = 1e-4
    rate: float = 0.05
    rate_every: int = 1
    sentence: int = SENTENCE


@dataclass(frozen=True)
class Stream:
    """One row for each word that is trained on.

    Attributes:
        rate: float64 [positions].
        target: numbers of words [positions, 1 + negative]: the word, then its negative samples.
        target_count: how many entries of each row count [positions]; the rest are to be ignored.
        context: numbers of words [positions, 2 * window].
        context_count: the same for it [positions], at least 1.
    """

    rate: np.ndarray
    target: np.ndarray
    target_count: np.ndarray
    context: np.ndarray
    context_count: np.ndarray

    def __len__(self) -> int:
        return len(self.rate)

    def data(self) -> dict[str, np.ndarray]:
        """The inputs of `word2vec.tp`."""
        return dict(vars(self))


def make_stream(vocabulary: Vocabulary, tokens: np.ndarray, settings: Settings) -> Stream:
    """The stream for a corpus `tokens` [corpus] of numbers of words. Words without any context are left out.

    Raises:
        ValueError: if no word has a context.
    """
    rng = np.random.default_rng(settings.seed)
    read = _subsample(rng, keep_probabilities(vocabulary.counts, settings.sample), tokens, settings.epochs)
    words = tokens[np.concatenate(read)]
    done = np.concatenate([epoch * len(tokens) + places for epoch, places in enumerate(read)])
    half = rng.integers(1, settings.window + 1, size=len(words))
    left, right = _room(half, [len(places) for places in read], settings.sentence)
    trained = np.flatnonzero(left + right)
    if not len(trained):
        raise ValueError("no word has a context: the corpus is too short, or `sample` too small")
    target, target_count = _targets(rng, words[trained], noise(vocabulary.counts), settings.negative)
    context = _contexts(words, trained, left[trained], right[trained], settings.window)
    return Stream(rates(done[trained], len(tokens), settings), target, target_count, context,
                  (left + right)[trained].astype(np.uint16))


def keep_probabilities(counts: np.ndarray, sample: float) -> np.ndarray:
    """The probability that subsampling keeps an occurrence of each word, [words]: (sqrt(c / (t N)) + 1) t N / c."""
    if sample <= 0:
        return np.ones(len(counts))
    share = sample * counts.sum() / counts
    return np.minimum(share + np.sqrt(share), 1.0)


def noise(counts: np.ndarray) -> np.ndarray:
    """The probabilities of negative samples, [words]."""
    weights = counts.astype(np.float64) ** NOISE_POWER
    return weights / weights.sum()


def rates(done: np.ndarray, corpus: int, settings: Settings) -> np.ndarray:
    """The learning rates after `done` [positions] words of the corpus were read, all epochs counted together."""
    done = done // settings.rate_every * settings.rate_every
    return settings.rate * np.maximum(1 - done / (settings.epochs * corpus + 1), LEAST_RATE)


def _subsample(rng: np.random.Generator, keep: np.ndarray, tokens: np.ndarray, epochs: int) -> list[np.ndarray]:
    """The places in the corpus that each epoch keeps."""
    keep = keep[tokens]
    return [np.flatnonzero(rng.random(len(tokens)) < keep) for _ in range(epochs)]


def _room(half: np.ndarray, lengths: list[int], sentence: int) -> tuple[np.ndarray, np.ndarray]:
    """How many context words each word has on its left and right, both [words], for epochs of the given lengths."""
    place = np.concatenate([np.arange(length) for length in lengths])
    length = np.repeat(lengths, lengths)
    before = place % sentence
    after = np.minimum(sentence - before, length - place) - 1
    return np.minimum(half, before), np.minimum(half, after)


def _contexts(words: np.ndarray, trained: np.ndarray, left: np.ndarray, right: np.ndarray, window: int) -> np.ndarray:
    """The words around the places `trained`, in the order of the text, zeros behind them: [trained, 2 * window]."""
    context = np.zeros((len(trained), 2 * window), dtype=words.dtype)
    column = np.arange(2 * window)
    for block in _blocks(len(trained)):
        before = left[block, None]
        place = trained[block, None] - before + column + (column >= before)
        used = column < before + right[block, None]
        context[block] = np.where(used, words[np.where(used, place, 0)], 0)
    return context


def _targets(rng: np.random.Generator, words: np.ndarray, noise: np.ndarray,
             negative: int) -> tuple[np.ndarray, np.ndarray]:
    """Each word followed by its negative samples, those equal to the word last, and how many are before these."""
    target = np.empty((len(words), 1 + negative), dtype=words.dtype)
    count = np.empty(len(words), dtype=np.uint16)
    target[:, 0] = words
    sampler = _Sampler(noise)
    for block in _blocks(len(words)):
        drawn = sampler.draw(rng, (len(words[block]), negative)).astype(words.dtype)
        same = drawn == words[block, None]
        count[block] = 1 + negative - same.sum(axis=1)
        mixed = np.flatnonzero(same.any(axis=1))
        order = np.argsort(same[mixed], axis=1, kind="stable")
        drawn[mixed] = np.take_along_axis(drawn[mixed], order, axis=1)
        target[block, 1:] = drawn
    return target, count


class _Sampler:
    """Draws from a discrete distribution in constant time (Walker's alias method): a uniform column, then the column
    itself or its alias."""

    def __init__(self, probabilities: np.ndarray):
        self.columns = len(probabilities)
        self.alias = np.arange(self.columns)
        self.share = probabilities * self.columns
        small = [int(i) for i in np.flatnonzero(self.share < 1)]
        large = [int(i) for i in np.flatnonzero(self.share >= 1)]
        while small and large:
            low, high = small.pop(), large[-1]
            self.alias[low] = high
            self.share[high] -= 1 - self.share[low]
            if self.share[high] < 1:
                small.append(large.pop())

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers of columns, [*shape]."""
        spot = rng.random(shape) * self.columns
        column = spot.astype(np.intp)
        spot -= column
        return np.where(spot < self.share[column], column, self.alias[column])


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
