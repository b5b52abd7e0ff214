"""docs/first-steps.md, walked in a fresh environment: installation included, in under ten minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from test_docs import blocks, same_text

TEN_MINUTES = 600


@pytest.mark.slow
def test_the_path_takes_less_than_ten_minutes(tmp_path):
    start = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("TENSORPROG_NO_CACHE", None)
    binaries = tmp_path / "environment" / "bin"
    work = tmp_path / "work"
    work.mkdir()

    def call(*command: str, folder: Path = work) -> str:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TEN_MINUTES)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(sys.executable, "-m", "venv", str(tmp_path / "environment"))
    for language, text in blocks("docs/first-steps.md"):
        match language:
            case "sh":
                program, *arguments = shlex.split(text)
                call(str(binaries / program), *arguments, folder=ROOT)
            case "tp":
                (work / text.split()[1].rstrip(":")).write_text(text, encoding="utf-8")
            case "python":
                call(str(binaries / "python"), "-c", text)
            case "console":
                for session in re.split(r"^\$ ", text, flags=re.M)[1:]:
                    command, _, expected = session.partition("\n")
                    program, *arguments = shlex.split(command)
                    found = call(str(binaries / program), *arguments)
                    assert same_text(expected, found), f"{command}\n{found}"
    assert (work / "waves.png").stat().st_size > 10_000
    assert time.monotonic() - start < TEN_MINUTES
