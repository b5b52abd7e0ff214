"""Word2Vec at infinite width, beside networks of several widths on the same stream.

    python examples/word2vec/train.py --corpus text.txt --raw --widths 64 256 inf --out out/word2vec

README.md in this folder says what the figures mean.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tensorprog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from word2vec.arguments import natural, positive, positive_real, width_or_inf
from word2vec.corpus import Vocabulary, read_corpus
from word2vec.evaluate import Analogies, Similarities, read_analogies, read_similarities
from word2vec.monitor import Monitor
from word2vec.report import Run, assess, save_embedding, table, write_results
from word2vec.stream import Settings, Stream, make_stream

PROGRAM = Path(__file__).with_name("word2vec.tp")
INTERRUPTED = 130
PUBLIC_TABLE = {"slope": 0.984, "shift": -0.192}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _options(arguments)
    try:
        _train(options)
    except (OSError, ValueError, tensorprog.ProgramError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on from the state in {options.out}", file=sys.stderr)
        return INTERRUPTED
    return 0


def run_one(program: tensorprog.CompiledProgram, data: dict[str, np.ndarray], width: float,
            options: argparse.Namespace, settings: dict[str, float],
            monitor: Monitor) -> tensorprog.Result:
    """The limit if `width` is infinite, else one random network of that width.

    Args:
        data: the inputs of `word2vec.tp`.
        settings: its sizes and parameters.
        monitor: is shown the progress and the loss.

    Returns:
        `loss` [positions] and `gram` [words, words].
    """
    running = {"threads": options.threads, "checkpoint": _checkpoint(options, width),
               "every": options.checkpoint_every, "progress": monitor, "watch": monitor.watch}
    if math.isinf(width):
        return program.run(data, dtype=options.dtype, **running, **settings)
    return program.simulate(data, width=int(width), seeds=1, seed=options.seed, **running, **settings)


def _checkpoint(options: argparse.Namespace, width: float) -> Path:
    return options.out / f"checkpoint-{width:g}.npz"


def _train(options: argparse.Namespace) -> None:
    words = read_corpus(options.corpus, options.raw)
    vocabulary = Vocabulary.of(words, options.min_count)
    analogies, similarities = _test_sets(options, vocabulary)
    tokens = vocabulary.encode(words)
    stream = make_stream(vocabulary, tokens, _stream_settings(options))
    total = len(words)
    del words
    print(f"{total:,} words, {len(tokens):,} in the vocabulary of {len(vocabulary):,}; "
          f"{len(stream):,} to train on in {options.epochs} epochs")
    _describe_test_sets(analogies, similarities)
    program = tensorprog.compile(PROGRAM)
    options.out.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for width in options.widths:
        runs.append(_trained(program, stream, vocabulary, width, options, analogies, similarities))
        write_results(options.out, runs)
    for width in options.widths:
        _checkpoint(options, width).unlink(missing_ok=True)
    print("\n" + table(runs))
    print(f"\nresults: {options.out}")


def _trained(program: tensorprog.CompiledProgram, stream: Stream, vocabulary: Vocabulary, width: float,
             options: argparse.Namespace, analogies: Analogies | None, similarities: Similarities | None) -> Run:
    """One width, its embedding saved and judged; the large arrays go when it is done."""
    run, gram = _timed_run(program, stream, len(vocabulary), width, options)
    save_embedding(options.out, run, gram, vocabulary)
    return assess(run, gram, analogies, similarities)


def _timed_run(program: tensorprog.CompiledProgram, stream: Stream, words: int, width: float,
               options: argparse.Namespace) -> tuple[Run, np.ndarray]:
    settings = {"words": words, "decay": options.decay} | (PUBLIC_TABLE if options.table else {})
    monitor = Monitor(width, len(stream), options.negative)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run_one(program, stream.data(), width, options, settings, monitor)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    monitor.finish()
    run = Run(width, (result["loss"] / options.negative).astype(np.float32), seconds, cpu_seconds)
    return run, result["gram"].astype(np.float32)


def _test_sets(options: argparse.Namespace, vocabulary: Vocabulary) -> tuple[Analogies | None, Similarities | None]:
    return (options.analogies and read_analogies(options.analogies, vocabulary),
            options.similarities and read_similarities(options.similarities, vocabulary))


def _describe_test_sets(analogies: Analogies | None, similarities: Similarities | None) -> None:
    if analogies is not None:
        print(f"{len(analogies.questions):,} of {analogies.total:,} analogies have all their words in the vocabulary")
    if similarities is not None:
        print(f"{len(similarities.pairs):,} of {similarities.total:,} pairs for similarity have theirs")


def _stream_settings(options: argparse.Namespace) -> Settings:
    return Settings(epochs=options.epochs, seed=options.seed, window=options.window, negative=options.negative,
                    sample=options.sample, rate=options.rate, rate_every=options.rate_every)


# --- command line --------------------------------------------------------------------------------------------


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, metavar="PATH",
                        help="text files, or a zip file with the Brown corpus")
    parser.add_argument("--raw", action="store_true", help="running text: cut it at everything that is not a letter")
    parser.add_argument("--min-count", type=positive, default=20, help="how often a word must occur (%(default)s)")
    parser.add_argument("--widths", type=width_or_inf, nargs="+", default=[64, 256, 1024, math.inf], metavar="WIDTH",
                        help="widths of networks; inf is the limit (64 256 1024 inf)")
    parser.add_argument("--out", type=Path, default=Path("out/word2vec"), help="folder for the results (%(default)s)")
    _add_stream_options(parser.add_argument_group("training", "as in the public code of the paper"))
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument("--analogies", type=Path, help="a file like questions-words.txt")
    evaluation.add_argument("--similarities", type=Path, help="a file like wordsim353.tsv")
    running = parser.add_argument_group("running")
    running.add_argument("--threads", type=positive, help="how many threads (all processors)")
    running.add_argument("--dtype", choices=("float32", "float64"), default="float32",
                         help="of the limit (%(default)s)")
    running.add_argument("--checkpoint-every", type=positive_real, default=30.0, metavar="SECONDS",
                         help="how often the state is kept, from which the same command goes on (%(default)s)")
    return parser.parse_args(arguments)


def _add_stream_options(group: argparse._ArgumentGroup) -> None:
    usual = Settings()
    group.add_argument("--epochs", type=positive, default=usual.epochs, help="(%(default)s)")
    group.add_argument("--seed", type=natural, default=usual.seed, help="of stream and networks (%(default)s)")
    group.add_argument("--window", type=positive, default=usual.window, help="reach of a context (%(default)s)")
    group.add_argument("--negative", type=positive, default=usual.negative, help="negative samples (%(default)s)")
    group.add_argument("--sample", type=float, default=usual.sample,
                       help="threshold of subsampling, 0 for none (%(default)s)")
    group.add_argument("--rate", type=positive_real, default=usual.rate, help="first learning rate (%(default)s)")
    group.add_argument("--rate-every", type=positive, default=usual.rate_every, metavar="WORDS",
                       help="renew the falling rate after so many words (%(default)s; the public code: 500000)")
    group.add_argument("--decay", type=float, default=0.001, help="weight decay (%(default)s)")
    group.add_argument("--table", action="store_true", help="the public code's sigmoid, from a table that is off")


if __name__ == "__main__":
    sys.exit(main())
