"""Nothing that a user wrote gets out of where it is written: file names, comments and names in every emitted text."""

import ast
import os

import pytest

import tensorprog
from tensorprog.codegen.finite import emit_finite_module
from tensorprog.codegen.quoting import quoted
from tensorprog.evaluators import covariance, particles, span
from tensorprog.evaluators.tiles import tiles_of
from tensorprog.files import shown
from tensorprog.passes.batch import mark_parallel

# Each would run code, end a literal or break a line, if it were pasted.
NASTY = ['"""', "'''", '"', "\\", "\\\"\"\"", "\n", "\r", "{0}", "{x}", "%s", "\\N{BULLET}", "\\x", "\x1b[31m", "\u2028", "\u202e", "`",
         '"""\nraise SystemExit("run")\n"""', "\\input{x}", "$&_#~^"]
COMMENT = " ".join(text for text in NASTY if not set(text) & set("\n\r\u2028"))
PROGRAM = f"""width n  # {COMMENT}
size P, d  # \"\"\"
input X : [P, d]
matrix U : [n, d] ~ normal(0, 1/d)  # \\
vector v : [n] ~ normal(0, 1)  # ends in a quote "
for a in range(P):  # '
    for b in range(P):
        K[a, b] = moment(PHI(U @ X[a]) * PHI(U @ X[b]))
output K as héß
"""
LOOP = "width n\nvector v : [n] ~ normal(0, 1)\nfor t in range(300):  # \"\"\" \\\n    v = v - 0.001*moment(v)*v\noutput moment(v*v) as q\n"


def file_name(text):
    return f"relu{text}.tp".replace("/", ":")


def modules(program):
    """The texts of all kinds of modules, by kind."""
    compiled = program.compiled_for({})
    found = {"kernel": program.emit("kernel"), "particles": particles.emit(compiled)}
    if compiled.linear.program is not None:
        found["span"] = span.emit(compiled)
    system = compiled.covered.system
    if system is not None:
        found["table"] = covariance.emit(compiled, system)
        found["tiles"] = covariance.emit(compiled, system, tiles_of(compiled, system).for_module())
    return found


def is_harmless(text):
    """Whether a module is one docstring, imports, definitions and constants."""
    first, *rest = ast.parse(text.encode()).body
    assert isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    plain = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Assign)
    return all(isinstance(node, plain) for node in rest)


@pytest.mark.parametrize("text", [*NASTY, "".join(NASTY)])
def test_a_file_name_is_only_a_name(tmp_path, text):
    path = tmp_path / file_name(text)
    path.write_text(PROGRAM.replace("PHI", "relu"))
    program = tensorprog.compile(path)
    for kind, module in modules(program).items():
        assert is_harmless(module), kind
        assert quoted(shown(path.name)) in module
        assert ast.get_docstring(ast.parse(module)).splitlines()[0].split(" of ")[1].startswith(shown(path.name))
    first = program.limit.show("latex").split("\\texttt{")[1].split("\n")[0]
    assert "\\input" not in first
    assert first.endswith(".tp}.")
    assert "\n\n###" in program.limit.show("markdown")


@pytest.mark.parametrize("phi", ["", "tanh"], ids=["span", "table"])
def test_the_text_of_a_program_is_only_a_text(phi):
    program = tensorprog.compile(PROGRAM.replace("PHI", phi))
    found = modules(program)
    assert ("span" in found) == (phi == "")
    for kind, module in found.items():
        assert is_harmless(module), kind
        assert module.isprintable() or "\x1b" not in module
    assert PROGRAM.replace("PHI", phi).split("\n")[0] in ast.get_docstring(ast.parse(found["particles"]))


def test_networks_of_finite_width_too(tmp_path):
    path = tmp_path / file_name("".join(NASTY))
    path.write_text(LOOP)
    program = tensorprog.compile(path)
    compiled = program.compiled_for({})
    module = emit_finite_module(mark_parallel(compiled.differentiated), compiled.original)
    assert module is not None
    assert is_harmless(module)


def test_a_file_name_that_is_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.tp"
    with open(path, "w") as file:
        file.write(PROGRAM.replace("PHI", ""))
    program = tensorprog.compile(os.path.join(tmp_path, os.fsdecode(b"caf\xe9.tp")))
    for module in modules(program).values():
        assert is_harmless(module)
        assert "caf\\\\xe9.tp" in module
    assert "caf\\xe9.tp" in program.limit.show("text")
