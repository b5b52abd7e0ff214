"""examples/word2vec: corpus, stream, evaluation, and the program's limit against plain NumPy."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from places import ROOT

import tensorprog

DATA = ROOT.parent / "shared" / "data"
PROGRAM = ROOT / "examples" / "word2vec" / "word2vec.tp"
sys.path.insert(0, str(ROOT / "examples"))

from word2vec.corpus import Vocabulary, read_brown, read_corpus, tokenize  # noqa: E402
from word2vec.evaluate import (  # noqa: E402
    agreement,
    analogy_hits,
    cosines,
    mean_score,
    neighbour_overlap,
    read_analogies,
    read_similarities,
    section_scores,
    similarity_score,
    spearman,
)
from word2vec.monitor import Monitor  # noqa: E402
from word2vec.stream import SENTENCE, Settings, Stream, keep_probabilities, make_stream, noise, rates  # noqa: E402


def zipf_tokens(words: int, length: int, seed: int = 100) -> tuple[Vocabulary, np.ndarray]:
    """A vocabulary of `words` words and a corpus [length] of them with falling frequencies."""
    weights = 1 / np.arange(1, words + 1)
    names = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(words)]
    drawn = np.random.default_rng(seed).choice(words, length, p=weights / weights.sum())
    corpus = [names[i] for i in drawn]
    vocabulary = Vocabulary.of(corpus)
    return vocabulary, vocabulary.encode(corpus)


# --- corpus --------------------------------------------------------------------------------------------------


def test_tokens_are_words_of_letters():
    text = "The dog , don't <unk> 1961 re-read U.S. dog\nCafé end."
    assert tokenize(text) == ["the", "dog", "dog"]
    assert tokenize(text, raw=True) == ["the", "dog", "don", "t", "unk", "re", "read", "u", "s", "dog", "caf", "end"]


def test_brown_archive(tmp_path):
    path = tmp_path / "brown.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("brown/cb01", "and/or/cc last/ap ``/``")
        archive.writestr("brown/ca01", "The/at Jury/nn-tl said/vbd\n\tAtlanta's/np$ term-end/nn ,/, plain ./.")
        archive.writestr("brown/README", "read/me first/xx")
    assert read_brown(path) == ["the", "jury", "said", "last"]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("text", "no/at")
    with pytest.raises(ValueError, match="no files of the Brown corpus"):
        read_brown(tmp_path / "other.zip")


def test_vocabulary_order_and_encoding():
    words = "b a c a b d".split()
    vocabulary = Vocabulary.of(words)
    assert vocabulary.words == ("a", "b", "c", "d")
    assert vocabulary.counts.tolist() == [2, 2, 1, 1]
    assert Vocabulary.of(words, 2).encode(words).tolist() == [1, 0, 0, 1]
    assert vocabulary.encode(words).dtype == np.uint16
    with pytest.raises(ValueError, match="lower the minimum"):
        Vocabulary.of(words, 3)


def test_counts_of_the_real_corpus():
    paths = [DATA / name for name in ("brown.zip", "wikitext2_valid.txt", "wikitext2_test.txt")]
    if not all(path.exists() for path in paths):
        pytest.skip(f"needs the corpora in {DATA.name}")
    words = read_corpus(paths)
    assert len(words) == 1_325_382
    assert [len(Vocabulary.of(words, least)) for least in (5, 10, 20, 50)] == [15_686, 10_055, 6_192, 2_998]


# --- stream --------------------------------------------------------------------------------------------------


def test_subsampling_keeps_the_stated_share():
    vocabulary, tokens = zipf_tokens(100, 100_000)
    sample, epochs = 1e-3, 4
    keep = keep_probabilities(vocabulary.counts, sample)
    share = vocabulary.counts / len(tokens)
    np.testing.assert_allclose(keep, np.minimum(1, (np.sqrt(share / sample) + 1) * sample / share), rtol=1e-12)
    stream = make_stream(vocabulary, tokens, Settings(epochs=epochs, sample=sample, negative=1))
    found = np.bincount(stream.target[:, 0], minlength=len(vocabulary))
    expected = epochs * vocabulary.counts * keep
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - keep)) + 5).all()
    assert keep_probabilities(vocabulary.counts, 0).tolist() == [1.0] * len(vocabulary)


def test_negative_samples_follow_the_noise_and_skip_the_word():
    vocabulary, tokens = zipf_tokens(50, 20_000)
    stream = make_stream(vocabulary, tokens, Settings(epochs=1, sample=0, negative=20))
    used = np.arange(21) < stream.target_count[:, None]
    word = stream.target[:, :1]
    assert (stream.target[:, 1:] != word)[used[:, 1:]].all()
    assert np.broadcast_to(word, used.shape)[~used].tolist() == stream.target[~used].tolist()
    drawn = stream.target[:, 1:].ravel()
    probability = noise(vocabulary.counts)
    weights = vocabulary.counts**0.75
    np.testing.assert_allclose(probability, weights / weights.sum())
    expected = len(drawn) * probability
    excess = ((np.bincount(drawn, minlength=50) - expected) ** 2 / expected).sum()
    assert abs(excess - 49) < 5 * np.sqrt(2 * 49)


def test_contexts_are_the_neighbours_in_the_sentence():
    tokens = (np.arange(2 * SENTENCE + 300) % 977).astype(np.uint16)
    vocabulary = Vocabulary(tuple(map(str, range(977))), np.bincount(tokens))
    stream = make_stream(vocabulary, tokens, Settings(epochs=2, sample=0, negative=2, window=8))
    assert stream.target[:, 0].tolist() == 2 * tokens.tolist()
    reach = []
    for row in range(len(stream)):
        place = row % len(tokens)
        start = place - place % SENTENCE
        sentence = tokens[start:start + SENTENCE].tolist()
        here = place - start
        found = stream.context[row, :stream.context_count[row]].tolist()
        fitting = [b for b in range(1, 9) if found == sentence[max(0, here - b):here] + sentence[here + 1:here + 1 + b]]
        assert fitting
        if 8 <= here < len(sentence) - 8:
            reach += fitting
    counts = np.bincount(reach, minlength=9)[1:]
    assert (np.abs(counts - len(reach) / 8) < 5 * np.sqrt(len(reach) / 8)).all()


def test_a_word_without_context_is_left_out():
    tokens = (np.arange(SENTENCE + 1) % 7).astype(np.uint16)
    vocabulary = Vocabulary(tuple("abcdefg"), np.bincount(tokens))
    stream = make_stream(vocabulary, tokens, Settings(epochs=3, sample=0))
    assert len(stream) == 3 * SENTENCE
    assert stream.context_count.min() >= 1
    with pytest.raises(ValueError, match="no word has a context"):
        make_stream(vocabulary, tokens[:1], Settings(epochs=1, sample=0))


def test_the_seed_determines_the_stream():
    vocabulary, tokens = zipf_tokens(60, 5_000)
    first, again, other = (make_stream(vocabulary, tokens, Settings(seed=seed, sample=1e-2)).data()
                           for seed in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert first["rate"].shape != other["rate"].shape or (first["target"] != other["target"]).any()


def test_rate_falls_linearly_to_its_floor():
    settings = Settings(epochs=2, rate=0.1)
    found = rates(np.array([0, 100, 150]), 100, settings)
    np.testing.assert_allclose(found, 0.1 * (1 - np.array([0, 100, 150]) / 201), rtol=1e-12)
    assert rates(np.array([200_000 - 1]), 100_000, settings)[0] == pytest.approx(0.1 * 1e-4)
    steps = rates(np.array([0, 59, 60, 119]), 100, Settings(epochs=2, rate=0.1, rate_every=60))
    np.testing.assert_allclose(steps, [0.1, 0.1, 0.1 * (1 - 60 / 201), 0.1 * (1 - 60 / 201)], rtol=1e-12)


def test_the_rate_counts_words_before_subsampling():
    vocabulary, tokens = zipf_tokens(60, 5_000)
    stream = make_stream(vocabulary, tokens, Settings(epochs=2, sample=1e-2, rate=1.0))
    done = np.rint((1 - stream.rate) * 10_001).astype(int)
    assert (np.diff(done) > 0).all()
    assert tokens[done % 5_000].tolist() == stream.target[:, 0].tolist()


# --- evaluation ----------------------------------------------------------------------------------------------


def random_gram(words: int, width: int, seed: int) -> np.ndarray:
    """The Gram matrix [words, words] of normal vectors."""
    vectors = np.random.default_rng(seed).normal(size=(words, width))
    return vectors @ vectors.T / width


def test_cosines_with_a_zero_vector():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [4.0, 3.0]])
    np.testing.assert_allclose(cosines(vectors @ vectors.T), [[1, 0, 0.96], [0, 0, 0], [0.96, 0, 1]], atol=1e-7)


def test_planted_analogies_are_found(tmp_path):
    base = np.eye(4)[:3]
    shift = 0.7 * np.eye(4)[3]
    vocabulary = Vocabulary(tuple("abcdef"), np.ones(6, dtype=np.int64))
    vectors = np.concatenate([base, base + shift])
    path = tmp_path / "questions.txt"
    path.write_text(": right\nA d B e\nc f a D\n: wrong\na d b c\n: unknown\na b c zebra\n", encoding="utf-8")
    analogies = read_analogies(path, vocabulary)
    assert (len(analogies.questions), analogies.total) == (3, 4)
    hits = analogy_hits(cosines(vectors @ vectors.T), analogies.questions)
    assert hits.tolist() == [True, True, False]
    sections = section_scores(hits, analogies)
    assert {name: (score.value, score.count) for name, score in sections.items()} == {"right": (1, 2), "wrong": (0, 1)}
    score = mean_score(hits)
    assert score.value == pytest.approx(2 / 3) and score.error == pytest.approx(1 / 3)
    path.write_text("a b c d\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"questions.txt:1: expected `: section` or four words"):
        read_analogies(path, vocabulary)


def test_analogies_agree_with_a_search_over_words():
    rng = np.random.default_rng(5)
    cosine = cosines(random_gram(30, 5, 1))
    questions = np.array([rng.permutation(30)[:4] for _ in range(600)])
    answers = [max(set(range(30)) - {a, b, c}, key=lambda w: cosine[w, b] - cosine[w, a] + cosine[w, c])
               for a, b, c, _ in questions]
    questions[::2, 3] = answers[::2]
    np.testing.assert_array_equal(analogy_hits(cosine, questions), questions[:, 3] == answers)


def test_similarity_is_the_rank_correlation(tmp_path):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 9, 80).astype(float), rng.normal(size=80)
    second += first
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
    assert np.isnan(spearman(np.ones(5), second[:5]))
    path = tmp_path / "pairs.tsv"
    lines = ["# head", *(f"W{i}\tw{i + 1}\t{i}" for i in range(40)), "w1\tnone\t3"]
    path.write_text("\n".join(lines), encoding="utf-8")
    vocabulary = Vocabulary(tuple(f"w{i}" for i in range(41)), np.ones(41, dtype=np.int64))
    judged = read_similarities(path, vocabulary)
    assert (len(judged.pairs), judged.total) == (40, 41)
    cosine = cosines(random_gram(41, 20, 3))
    found = similarity_score(cosine, judged)
    pairs = cosine[np.arange(40), np.arange(1, 41)]
    assert found.value == pytest.approx(stats.spearmanr(pairs, np.arange(40)).statistic, abs=1e-12)
    assert 0.6 < found.error * np.sqrt(39) < 1.4
    path.write_text("a b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected two words and a number"):
        read_similarities(path, vocabulary)


def test_agreement_and_neighbours():
    first, second = cosines(random_gram(300, 8, 0)), cosines(random_gram(300, 8, 1))
    pairs = [(i, j) for i in range(300) for j in range(i)]
    wanted = np.corrcoef([first[p] for p in pairs], [second[p] for p in pairs])[0, 1]
    assert agreement(first, second) == pytest.approx(wanted, abs=1e-6)
    assert agreement(first, 0.5 * first + 0.1) == pytest.approx(1)
    near = [[set(sorted(set(range(300)) - {i}, key=lambda j: -cosine[i, j])[:10]) for i in range(300)]
            for cosine in (first, second)]
    wanted = np.mean([len(a & b) / 10 for a, b in zip(*near, strict=True)])
    assert neighbour_overlap(first, second) == pytest.approx(wanted)
    assert neighbour_overlap(first, first) == 1


# --- the program ---------------------------------------------------------------------------------------------


def reference_step(P: np.ndarray, Q: np.ndarray, rate: float, targets: np.ndarray, contexts: np.ndarray, *,
                   decay: float = 0.001, slope: float = 1.0, shift: float = 0.0) -> float:
    """One position of the public code (edwardjhu/TP4, word2vec.c) in the basis of the initial vectors, in place.

    Args:
        P: u = P u0, [words, words]; the identity at first.
        Q: v = Q u0, [words, words]; zero at first.
        targets: the word, then the negative samples.
        contexts: the context words.

    Returns:
        the loss, summed over targets.
    """
    kept = 1 - rate * decay
    h = P[contexts].mean(axis=0)
    e, loss = np.zeros_like(h), 0.0
    for k, t in enumerate(targets):
        f = slope * (h @ Q[t]) + shift
        label = 1.0 if k == 0 else 0.0
        loss += np.logaddexp(0, -f if k == 0 else f)
        g = rate * (label - 1 / (1 + np.exp(-f)))
        e += g * Q[t]
        Q[t] = kept * Q[t] + g * h
    for c in contexts:
        P[c] = kept * P[c] + e / len(contexts)
    return float(loss)


def reference(stream: Stream, words: int, **settings: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses [positions] and Gram matrix [words, words] of u after the stream."""
    P, Q = np.eye(words), np.zeros((words, words))
    loss = [reference_step(P, Q, stream.rate[s], stream.target[s, :stream.target_count[s]],
                           stream.context[s, :stream.context_count[s]], **settings) for s in range(len(stream))]
    return np.array(loss), P @ P.T


def tiny_stream(rate: float = 0.5) -> tuple[int, Stream]:
    """Words and a stream of 60 positions in which words repeat among the targets and contexts of one position."""
    vocabulary, tokens = zipf_tokens(12, 30, seed=4)
    stream = make_stream(vocabulary, tokens, Settings(epochs=2, sample=0, negative=5, window=3, rate=rate))
    return len(vocabulary), stream


def test_the_reference_descends_the_gradient_of_its_loss():
    rng = np.random.default_rng(0)
    P, Q = rng.normal(size=(2, 8, 8)) / 3
    targets, contexts = np.array([1, 4, 6]), np.array([0, 2, 7])
    rate, step = 1e-3, 1e-6

    def loss(P: np.ndarray, Q: np.ndarray) -> float:
        return reference_step(P.copy(), Q.copy(), 0.0, targets, contexts)

    after = P.copy(), Q.copy()
    reference_step(*after, rate, targets, contexts, decay=0.0)
    for which, row, column in ((0, 2, 3), (0, 7, 0), (1, 1, 5), (1, 6, 2)):
        low, high = [P.copy(), Q.copy()], [P.copy(), Q.copy()]
        low[which][row, column] -= step
        high[which][row, column] += step
        slope = (loss(*high) - loss(*low)) / (2 * step)
        assert (after[which] - (P, Q)[which])[row, column] == pytest.approx(-rate * slope, rel=1e-5)


@pytest.mark.parametrize("settings", [{"decay": 0.001}, {"decay": 0.1, "slope": 0.984, "shift": -0.192}])
def test_the_limit_is_the_reference(settings):
    words, stream = tiny_stream()
    found = tensorprog.compile(PROGRAM).run(stream.data(), words=words, **settings)
    loss, gram = reference(stream, words, **settings)
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-9)
    np.testing.assert_allclose(found["gram"], gram, rtol=1e-9, atol=1e-9)


def test_wide_networks_tend_to_the_reference():
    words, stream = tiny_stream()
    loss, gram = reference(stream, words)
    program = tensorprog.compile(PROGRAM)
    gaps = []
    for width in (64, 4096):
        found = program.simulate(stream.data(), words=words, width=width, seeds=2)
        gaps.append([np.abs(found[name] - wanted).max() for name, wanted in (("loss", loss), ("gram", gram))])
    assert (np.array(gaps[1]) < 0.4 * np.array(gaps[0])).all()
    assert max(gaps[1]) < 0.15


def test_the_command_trains_and_compares(tmp_path):
    words = [f"w{chr(97 + i)}" for i in np.random.default_rng(1).choice(8, 120)]
    (tmp_path / "corpus.txt").write_text(" ".join(words), encoding="utf-8")
    (tmp_path / "questions.txt").write_text(": letters\nwa wb wc wd\nwb wc wd we\n", encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("wa wb 1\nwa wc 2\nwb wd 3\nwe wf 4\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, PROGRAM.with_name("train.py"), "--corpus", "corpus.txt", "--min-count", "1", "--epochs", "1",
         "--sample", "0", "--negative", "4", "--widths", "16", "inf", "--analogies", "questions.txt",
         "--similarities", "pairs.tsv", "--out", "found", "--rate", "0.3"],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "120 to train on in 1 epochs" in done.stdout
    assert (tmp_path / "found" / "table.txt").read_text(encoding="utf-8").strip() in done.stdout
    assert (tmp_path / "found" / "convergence.png").stat().st_size > 1000
    with np.load(tmp_path / "found" / "results.npz") as file:
        assert file["width"].tolist() == [16, np.inf]
        assert file["analogies"][:, 2].tolist() == [2, 2] and file["similarity"][:, 2].tolist() == [4, 4]
        assert 0 < file["agreement"][0, 0] < 1 and np.isnan(file["agreement"][1]).all()
    with np.load(tmp_path / "found" / "embedding-inf.npz") as file:
        assert file["gram"].shape == (8, 8) and len(file["loss"]) == 120 and set(file["words"]) == set(words)
        assert file["loss"][:10].mean() > file["loss"][-10:].mean()


def test_the_command_reports_a_missing_file(tmp_path):
    done = subprocess.run([sys.executable, PROGRAM.with_name("train.py"), "--corpus", tmp_path / "none.txt"],
                          capture_output=True, text=True, encoding="utf-8", timeout=600)
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: ") and "none.txt" in done.stderr and "Traceback" not in done.stderr


def test_the_line_of_progress():
    monitor = Monitor(64, positions=1000, negative=5, out=io.StringIO())
    assert monitor.line(1.0, 10.0).split() == "width 64: 100.0% 100 words/s".split()
    monitor.watch({"loss": np.array([1.0, 3.0, np.nan])})
    assert monitor.line(0.25, 10.0).split() == "width 64: 25.0% 25 words/s 30 s left loss 0.40000".split()


def test_progress_after_a_checkpoint_counts_what_was_done_now():
    monitor = Monitor(64, positions=1000, negative=5, out=io.StringIO())
    monitor(500, 1000)
    assert monitor.line(0.75, 10.0).split() == "width 64: 75.0% 25 words/s 10 s left".split()
