"""What makes the project installable, and whether its parts agree: setup.cfg, Makefile, .ci/run, README."""

from __future__ import annotations

import configparser
import importlib.resources
import os
import re

import pytest
from places import ROOT

import tensorprog


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def lines(value: str) -> list[str]:
    return [line.strip() for line in value.strip().splitlines()]


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


def test_every_package_is_listed(setup):
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "tensorprog").rglob("__init__.py")}
    assert set(lines(setup["options"]["packages"])) == found | {"tensorprog.grammar"}
    assert lines(setup["options"]["package_dir"]) == ["tensorprog.grammar = grammar"]


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in (ROOT / "tensorprog").rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_files_that_are_not_code_are_packaged(setup):
    data = {path.relative_to(ROOT) for folder in ("tensorprog", "grammar") for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")}
    folders = {"tensorprog": ROOT / "tensorprog", "tensorprog.grammar": ROOT / "grammar"}
    packaged = {path.relative_to(ROOT) for package, patterns in setup["options.package_data"].items()
                for path in folders[package].glob(patterns)}
    assert data == packaged != set()


def test_the_grammar_is_found():
    try:
        grammar = importlib.resources.files("tensorprog.grammar").joinpath("tensorprog.lark")
    except ModuleNotFoundError:
        pytest.skip("tensorprog is not installed here: the parser reads the checkout's grammar")
    assert grammar.read_text(encoding="utf-8") == read("grammar/tensorprog.lark")


def test_one_version(setup):
    assert setup["metadata"]["version"] == "attr: tensorprog.__version__"
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M).group(1) == tensorprog.__version__


def test_the_citation_is_of_this_version():
    text = read("CITATION.cff")
    assert re.search(r"^version: (\S+)$", text, re.M).group(1) == tensorprog.__version__
    assert re.search(r"^license: (\S+)$", text, re.M).group(1) == "Apache-2.0"


def test_the_citation_has_the_fields_of_its_format():
    """The keys of the Citation File Format 1.2.0: those that are required, no others than it knows, and an entity as author."""
    text = read("CITATION.cff")
    keys = set(re.findall(r"^([a-z-]+):", text, re.M))
    known = "abstract authors cff-version commit contact date-released doi identifiers keywords license license-url message " \
            "preferred-citation references repository repository-artifact repository-code title type url version"
    assert {"cff-version", "message", "title", "authors"} <= keys <= set(known.split())
    authors = re.search(r"^authors:\n((?:  .*\n)+)", text, re.M).group(1)
    assert authors == "  - name: The tensorprog developers\n"


def test_the_entry_point_is_there(setup):
    name, _, target = setup["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "tpc"
    assert callable(getattr(importlib.import_module(module), function))


def test_what_is_imported_is_required(setup):
    named = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    required = {re.split(r"[ <>=\[]", line)[0] for group in named for line in lines(group)}
    imported = set()
    for path in (ROOT / "tensorprog").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:from|import) ([a-z_]\w*)", path.read_text(encoding="utf-8"), re.M))
    third_party = imported & {"lark", "numpy", "numba", "sympy", "scipy", "click", "platformdirs", "threadpoolctl",
                              "matplotlib", "pytest", "hypothesis", "pandas", "xarray", "networkx"}
    assert third_party <= required
    assert all(">=" in line or line.startswith("tensorprog[") for group in named for line in lines(group))


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_s_commands_are_targets(target):
    assert re.search(rf"^ +make {target}\b", read("README.md"), re.M)
    assert re.search(rf"^{target}: ", read("Makefile"), re.M)


def test_continuous_integration_runs_the_readme_s_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    commands = [line for line in script.read_text().splitlines() if line.startswith("make ")]
    assert commands[:2] == ["make check", "make test"]


def test_slow_tests_are_left_out_and_run_on_their_own(setup):
    assert '-m "not slow"' in read("Makefile")
    assert re.search(r"pytest .*-m slow$", read("Makefile"), re.M)
    assert setup["tool:pytest"]["markers"].strip().startswith("slow:")


def test_what_make_runs_exists():
    for path in re.findall(r"\$\(BIN\)/python (\S+\.py)", read("Makefile")):
        assert (ROOT / path).exists()


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml", "Makefile", ".ci/run", "README.md"])
def test_nothing_of_one_machine(name):
    text = read(name)
    assert not re.search(r"index-url|/home/|/root/|/tmp/|localhost", text)
    assert not re.search(r"https?://(?!arxiv\.org)", text)
