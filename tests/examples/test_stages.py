"""Every stage of every program: well formed, reproducible, and with rolled loops."""


import pytest
from places import ROOT

from tensorprog.check import front
from tensorprog.diagnostics import Reporter, Source
from tensorprog.evaluators import particles
from tensorprog.evaluators.analysis import Analysis
from tensorprog.ir.constants import constants_env
from tensorprog.ir.program import For, GradStmt, walk
from tensorprog.ir.verify import verify
from tensorprog.passes.batch import mark_parallel
from tensorprog.passes.contract_cells import contract_cells
from tensorprog.passes.differentiate import differentiate
from tensorprog.passes.limit import leading_terms
from tensorprog.passes.powers import infer_powers
from tensorprog.passes.simplify import simplify
from tensorprog.pipeline import compile_program

PROGRAMS = sorted([*(ROOT / "examples").glob("*.tp"), *(ROOT / "tests" / "programs").glob("*.tp")])


def source(path):
    return Source(path.name, path.read_text())


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_every_pass_keeps_the_program_well_formed(path):
    reporter = Reporter(source(path))
    program = front(reporter.source, reporter)
    verify(program)
    program = simplify(program)
    verify(program)
    program = differentiate(program, reporter)
    verify(program)
    assert not any(isinstance(s, GradStmt) for s in walk(program.body))
    program = mark_parallel(simplify(program))
    verify(program)
    powers = infer_powers(program, constants_env(program, {}), reporter)
    program = leading_terms(program, powers, reporter)
    verify(program)
    for step in (simplify, contract_cells, simplify, mark_parallel):
        program = step(program)
        verify(program)


def analysed(*args):
    return Analysis.of(compile_program(*args))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_the_module_is_the_same_each_time(path):
    def emitted():
        reporter = Reporter(source(path))
        return particles.emit(analysed(front(reporter.source, reporter), {}, reporter))

    text = emitted()
    assert text == emitted()
    compile(text, path.name, "exec")


def test_the_size_of_the_module_does_not_depend_on_loop_bounds():
    text = (ROOT / "examples" / "mlp_mup.tp").read_text()
    sizes = []
    for steps in (5, 5000):
        reporter = Reporter(Source("mlp", text.replace("int = 50", f"int = {steps}")))
        compiled = analysed(front(reporter.source, reporter), {}, reporter)
        sizes.append(len(particles.emit(compiled).replace(str(steps), "T")))
    assert sizes[0] == sizes[1]


def test_the_points_of_a_batch_run_as_blocks():
    reporter = Reporter(source(ROOT / "examples" / "digits.tp"))
    compiled = compile_program(front(reporter.source, reporter), {}, reporter)
    loops = {s.var: s.parallel for s in walk(compiled.limit.body) if isinstance(s, For)}
    assert loops.pop("t") is False
    assert all(loops.values())
