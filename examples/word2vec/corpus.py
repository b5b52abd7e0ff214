"""From files to words: readers, tokenizer and vocabulary.

    words = read_corpus([Path("brown.zip"), Path("wikitext2_valid.txt")])
    vocabulary = Vocabulary.of(words, min_count=20)
    tokens = vocabulary.encode(words)

A word is lower case and has nothing but the letters a to z. Text that was tokenized already, with white space between
tokens (WikiText, and the Brown corpus with its tags), keeps the tokens that are words, so that `don't`, `1961` and
`<unk>` are left out; raw text is cut at everything that is not a letter.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

_TOKEN = re.compile(r"(?<!\S)[a-z]+(?!\S)")
_TAGGED = re.compile(r"(?<!\S)[a-z]+(?=/[^\s/]*(?!\S))")
_RUN = re.compile(r"[a-z]+")
_BROWN_MEMBER = re.compile(r"(.*/)?c[a-r]\d\d")


def read_corpus(paths: Iterable[Path], raw: bool = False) -> list[str]:
    """The words of several files, one after another.

    Args:
        paths: text files, or zip files with the Brown corpus.
        raw: whether the text files are running text, with punctuation attached to words.

    Raises:
        ValueError: for a zip file without the Brown corpus, or if there is no word at all.
        OSError: for a file that cannot be read.
    """
    words: list[str] = []
    for path in map(Path, paths):
        words += read_brown(path) if path.suffix == ".zip" else read_text(path, raw)
    if not words:
        raise ValueError("the corpus has no words")
    return words


def read_text(path: Path, raw: bool = False) -> list[str]:
    """The words of a text file."""
    return tokenize(path.read_text(encoding="utf-8", errors="replace"), raw)


def read_brown(path: Path) -> list[str]:
    """The words of the Brown corpus as NLTK ships it: a zip file with files ca01 to cr09 of tokens `word/tag`.

    Raises:
        ValueError: if the zip file has no such file.
    """
    with zipfile.ZipFile(path) as archive:
        members = sorted(name for name in archive.namelist() if _BROWN_MEMBER.fullmatch(name))
        if not members:
            raise ValueError(f"{path} has no files of the Brown corpus (ca01, ca02, ...)")
        return [word for name in members
                for word in _TAGGED.findall(archive.read(name).decode("utf-8", errors="replace").lower())]


def tokenize(text: str, raw: bool = False) -> list[str]:
    """The words of a text: its tokens that are words, or if it is `raw` all runs of letters."""
    return (_RUN if raw else _TOKEN).findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that occur often enough, by falling count, those of equal count in alphabetical order.

    Attributes:
        words: the words.
        counts: how often each occurs, int64 [words].
    """

    words: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, words: Iterable[str], min_count: int = 1) -> Vocabulary:
        """The vocabulary of a corpus.

        Raises:
            ValueError: if fewer than two words occur `min_count` times.
        """
        kept = sorted(((-count, word) for word, count in Counter(words).items() if count >= min_count))
        if len(kept) < 2:
            raise ValueError(f"only {len(kept)} words occur {min_count} times or more: lower the minimum count, "
                             "or give more text")
        return cls(tuple(word for _, word in kept), np.array([-count for count, _ in kept], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @property
    def dtype(self) -> type[np.integer]:
        """A compact type for numbers of words."""
        return np.uint16 if len(self) <= 2**16 else np.int32

    def encode(self, words: Sequence[str]) -> np.ndarray:
        """The numbers of the words, those outside the vocabulary left out: an array [tokens] of `dtype`."""
        index = self.index
        return np.array([index[word] for word in words if word in index], dtype=self.dtype)
