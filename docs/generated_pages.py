"""Pages that are written before every build: the README, the diagnostics, and the gallery.

Sphinx runs this as an extension; it also mends what these pages take from elsewhere. The files go to `docs/generated/`, which git ignores.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tensorprog.diagnostics.catalog import CATALOG, CatalogEntry

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.util.typing import ExtensionMetadata

DOCS = Path(__file__).resolve().parent
GALLERY = DOCS.parent / "examples" / "gallery"
README = DOCS.parent / "README.md"

DIAGNOSTICS_HEAD = """\
# Diagnostics

Mistakes and warnings have codes. `tpc explain CODE` says what this page says; the tests run the examples of programs.
A warning can be accepted for a line: `# accept TP512: the reason` ([language](../language.md)).
"""

GALLERY_HEAD = """\
# Gallery

What papers say about learning, looked at in the limit of infinite width. Each entry is a program, its data, the formula
that matters, numbers and a picture: `python examples/gallery/run.py NAME` computes it anew.
"""

PROGRAM = """\
`{name}`

```{{literalinclude}} ../../examples/gallery/{folder}/{name}
:language: tp
```
"""

#: What the hundreds of the codes are about.
CHAPTERS = {
    "TP1": "Reading the text",
    "TP2": "Names",
    "TP3": "Kinds and shapes",
    "TP4": "Functions, and gradients",
    "TP5": "Powers of n and the limit",
    "TP6": "Data, settings and accuracy",
    "TP7": "Files and the command line",
    "TP8": "Modules of PyTorch",
}


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", rewrite_links)
    app.connect("sphinx-click-process-description", escape_help)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx | None = None) -> None:
    """Write the pages; files that would not change keep their date, so that they are not built again."""
    folder = DOCS / "generated"
    folder.mkdir(exist_ok=True)
    for name, text in {"overview.md": overview_page(), "diagnostics.md": diagnostics_page(), **gallery_pages()}.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def overview_page() -> str:
    """The README, whose links to pages become links from here, and to other files become their names."""
    text = README.read_text(encoding="utf-8").replace("](docs/", "](../")
    return re.sub(r"\[([^\]]+)\]\((?!\.\./|\w+://)([^)]+)\)", r"\1 (`\2`)", text)


def diagnostics_page() -> str:
    """Every code with its explanation, an example of it, and the example put right: what `tpc explain CODE` says."""
    lines, chapter = [DIAGNOSTICS_HEAD], ""
    for code, entry in CATALOG.items():
        if code[:3] != chapter:
            chapter = code[:3]
            lines += [f"## {chapter}xx: {CHAPTERS[chapter]}", ""]
        lines += diagnostic(code, entry)
    return "\n".join(lines)


def diagnostic(code: str, entry: CatalogEntry) -> list[str]:
    lines = [f"({code.lower()})=", f"### {code}: {entry.title}", "", entry.explanation, ""]
    for heading, example in (("Not:", entry.bad), ("But:", entry.good)):
        if example:
            lines += [heading, "", "```text", example.rstrip("\n"), "```", ""]
    return lines


def gallery_pages() -> dict[str, str]:
    """A page for each entry of the gallery, and one with all pictures."""
    pages, overview = {}, [GALLERY_HEAD]
    names = sorted(path.parent.name for path in GALLERY.glob("*/README.md"))
    for name in names:
        text = (GALLERY / name / "README.md").read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        # Programs are shown below, and links to them are not needed.
        body = re.sub(r"\[([\w./]+\.tp)\]\([^)]*\)", r"`\1`", text)
        body = body.replace(f"]({name}.png)", f"](../../examples/gallery/{name}/{name}.png)")
        body = re.sub(r"\[(\w+)\]\(\.\./\.\./\w+/README\.md\)", r"`examples/\1`", body)
        programs = [PROGRAM.format(folder=name, name=path.name) for path in sorted((GALLERY / name).glob("*.tp"))]
        pages[f"gallery_{name}.md"] = "\n".join([body, "## The program" + "s" * (len(programs) > 1), "", *programs])
        overview += [f"## [{title}](gallery_{name}.md)", "",
                     f"![{title}](../../examples/gallery/{name}/{name}.png)", ""]
    toctree = ["```{toctree}", ":hidden:", "", *(f"gallery_{name}" for name in names), "```", ""]
    return pages | {"gallery.md": "\n".join([*overview, *toctree])}


def rewrite_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Links out of `docs/`, which readers of the files can follow, lead to what these pages have instead."""
    text = re.sub(r"\]\((?:\.\./)+examples/README\.md\)", "](/generated/gallery.md)", source[0])
    text = re.sub(r"\]\((?:\.\./)+examples/gallery/(\w+)/README\.md\)", r"](/generated/gallery_\1.md)", text)
    text = re.sub(r"\]\((?:\.\./)+README\.md\)", "](/generated/overview.md)", text)
    text = text.replace("[vscode](vscode)", "`docs/editors/vscode`")
    source[0] = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(examples/\w+)/README\.md\)", r"\1 (`\2`)", text)


def escape_help(app: Sphinx, context: object, lines: list[str]) -> None:
    """Help texts are not reStructuredText: `*.tp` is a file name there."""
    lines[:] = [line.replace("*", "\\*") for line in lines]
