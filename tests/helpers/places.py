"""Where things lie: the project, its examples and documents, and the programs that several tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
GOLDENS = ROOT / "tests" / "goldens"
PROGRAMS = ROOT / "tests" / "programs"
BAD_PROGRAMS = ROOT / "tests" / "bad_programs"
SHARED = ROOT.parent / "shared"
HELPERS = ROOT / "tests" / "helpers"
