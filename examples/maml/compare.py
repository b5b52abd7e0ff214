"""Few-shot classification of handwritten characters: the muP limit beside finite widths, kernel limits and nearest
neighbours, as in TP IV (arXiv 2011.14522), section 9.2 and Table 2.

    python compare.py --train images_background_small1.zip --test images_background_small2.zip --out results
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from baselines import GRID, KernelLearner, Setting, best_setting, kernel_columns, nearest_neighbour
from omniglot import Characters, load
from tasks import accuracy, draw_tasks, program_data, test_data

import tensorprog

#: Name, output of `kernels.tp`, leak.
KERNELS = (("linear GP", "gp", 1.0), ("linear NTK", "tangent", 1.0),
           ("ReLU GP", "gp", 0.0), ("ReLU NTK", "tangent", 0.0))
FOLDER = Path(__file__).parent
INNER_RATE = 0.4
TEST_STEPS = 20

Row = dict[str, object]


class Problem:
    """Images of the training characters and then of the test characters, and the tasks over them."""

    def __init__(self, train: Characters, test: Characters, args: argparse.Namespace):
        self.images = np.concatenate([train.images, test.images])
        shape = (args.steps, args.tasks)
        self.train = draw_tasks(shape, train.classes, train.drawings, seed=args.seed)
        self.validation = draw_tasks(args.test_tasks, train.classes, train.drawings, seed=args.seed + 1)
        self.test = draw_tasks(args.test_tasks, test.classes, test.drawings,
                               seed=args.seed + 2).shifted(len(train.images))


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison that the command line asks for."""
    args = _parser().parse_args(arguments)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    train, test = load(args.train, rotations=4), load(args.test)
    problem = Problem(train, test, args)
    print(f"{train.classes} classes to train on, {test.classes} to test on; {args.steps} meta-steps of {args.tasks} "
          f"tasks, {args.test_tasks} test tasks, {args.seeds} network(s) of each width", flush=True)
    rows = []
    for row in _rows(problem, args):
        rows.append(row)
        print(_line(row), flush=True)
        (out / "comparison.json").write_text(json.dumps({"settings": vars(args), "rows": rows}, indent=1))
    _picture(rows, out / "comparison.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="archive of the characters to train on (four rotations of each)")
    parser.add_argument("--test", required=True, help="archive of the characters to test on")
    parser.add_argument("--steps", type=int, default=600, help="meta-steps")
    parser.add_argument("--tasks", type=int, default=32, help="tasks of a meta-step")
    parser.add_argument("--test-tasks", type=int, default=600)
    parser.add_argument("--widths", type=int, nargs="*", default=[2, 8, 32, 128, 512, 2048])
    parser.add_argument("--seeds", type=int, default=1, help="networks of each width")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks and networks")
    parser.add_argument("--no-kernels", action="store_true", help="leave out the kernel limits")
    parser.add_argument("--no-limit", action="store_true", help="leave out the muP limit")
    parser.add_argument("--out", default="maml_results", help="folder for comparison.json and comparison.png")
    return parser


def _rows(problem: Problem, args: argparse.Namespace) -> Iterator[Row]:
    label = problem.test.query_label
    found = accuracy(nearest_neighbour(problem.images, problem.test), label)
    yield _row("nearest neighbour", [found, found], 0, None)
    if not args.no_kernels:
        for name, output, leak in KERNELS:
            yield from _kernel_rows(name, kernel_columns(problem.images, output, leak), problem)
    if not args.no_limit:
        yield from _network_rows(problem, "muP limit", lambda p, data: p.run(data, inner=INNER_RATE), args)
    for width in args.widths:
        yield from _network_rows(problem, f"width {width}", lambda p, data: p.simulate(
            data, width=width, seeds=args.seeds, seed=args.seed, inner=INNER_RATE), args, width=width)


# --- one model -----------------------------------------------------------------------------------------------


def _kernel_rows(name: str, columns: Callable[[np.ndarray], np.ndarray], problem: Problem) -> Iterator[Row]:
    """Without meta-training, and with it under the setting that is best on validation tasks; each choice is made for
    itself among the settings of `GRID`, and the seconds are those of the whole grid."""
    learner = KernelLearner(columns, len(problem.images), problem.test.ways, GRID, INNER_RATE)
    yield _kernel_row(f"{name}, untrained", learner, problem, 0, None)
    _, seconds = _timed(lambda: learner.train(problem.train))
    yield _kernel_row(name, learner, problem, len(problem.train.support), seconds)


def _kernel_row(name: str, learner: KernelLearner, problem: Problem, steps: int, seconds: float | None) -> Row:
    best = best_setting(learner, problem.validation, TEST_STEPS)
    logits = learner.test(problem.test, TEST_STEPS)[:, best]
    found = [accuracy(one, problem.test.query_label) for one in logits]
    return _row(name, found, steps, seconds, setting=_described(GRID[best]))


def _network_rows(problem: Problem, name: str, run: Callable, args: argparse.Namespace,
                  width: int | None = None) -> Iterator[Row]:
    """The meta-test without and after meta-training. The seconds of the first are taken off those of the second; a
    small run before each one leaves out the time to compile."""
    programs = [tensorprog.compile(FOLDER / file, {"test_steps": TEST_STEPS}) for file in ("test.tp", "maml.tp")]
    images, train, test = problem.images, problem.train, problem.test
    both = [(test_data(images, test), test_data(images, test.first(2))),
            (program_data(images, train, test), program_data(images, train.first(1), test.first(2)))]
    before = 0.0
    for program, (data, little), steps in zip(programs, both, (0, args.steps)):
        run(program, little)
        result, seconds = _timed(lambda: run(program, data))
        logits = result["logits"][None] if width is None else result.samples["logits"]
        found = [accuracy(logits[:, :, r], problem.test.query_label) for r in (0, -1)]
        yield _row(name if steps else f"{name}, untrained", found, steps, max(seconds - before, 0.0),
                   width=width, seeds=len(logits))
        before = seconds


def _timed(work: Callable) -> tuple[object, float]:
    """What `work` returns, and the CPU seconds that it takes."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


# --- what is shown -------------------------------------------------------------------------------------------


def _row(model: str, found: list[tuple[float, float]], steps: int, seconds: float | None, **more: object) -> Row:
    """`found`: accuracy and standard error after one and after all inner steps."""
    each = None if seconds is None or not steps else seconds / steps
    return {"model": model, "steps": steps, "one": found[0], "all": found[1], "cpu_seconds_per_step": each, **more}


def _line(row: Row) -> str:
    shares = "   ".join(f"{100 * mean:5.1f} +- {100 * error:.1f} %" for mean, error in (row["one"], row["all"]))
    seconds = row["cpu_seconds_per_step"]
    cost = "" if seconds is None else f"   {seconds:.3f} CPU s a meta-step"
    return f"{row['model']:24s} {row['steps']:5d} steps   1 and {TEST_STEPS} inner steps: {shares}{cost}"


def _described(setting: Setting) -> dict[str, float | None]:
    """A setting as JSON has it; no clipping is null."""
    clip_at = setting.clip_at if np.isfinite(setting.clip_at) else None
    return {"scale": setting.scale, "rate": setting.rate, "clip_at": clip_at}


def _picture(rows: list[Row], path: Path) -> None:
    """Accuracy after all inner steps against width; models without a width are lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    trained = [row for row in rows if row["steps"]]
    finite = [row for row in trained if row.get("width")]
    if finite:
        means, errors = np.array([r["all"] for r in finite]).T
        axes.errorbar([r["width"] for r in finite], 100 * means, 100 * errors, marker="o", capsize=3, color="black",
                      label="finite width, muP")
    flat = [row for row in rows if not row.get("width") and (row["steps"] or row["model"] == "nearest neighbour")]
    for number, row in enumerate(flat):
        axes.axhline(100 * row["all"][0], color=f"C{number}", linestyle="--", label=row["model"])
    axes.set_xscale("log", base=2)
    axes.set_xlabel("width")
    axes.set_ylabel(f"meta-test accuracy after {TEST_STEPS} inner steps, %")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
