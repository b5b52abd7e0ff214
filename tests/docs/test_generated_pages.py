"""Pages of the documentation that are written from the code: nothing is left out, and their links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import re

import pytest
from places import DOCS

from tensorprog.diagnostics import ProgramError
from tensorprog.diagnostics.catalog import CATALOG


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generated_pages", DOCS / "generated_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_diagnostic_has_its_place(generated):
    page = generated.diagnostics_page()
    assert re.findall(r"^### (TP\d+): ", page, re.M) == list(CATALOG)
    assert all(entry.explanation in page and entry.bad.rstrip("\n") in page for entry in CATALOG.values())


def test_every_hundred_of_codes_has_a_title(generated):
    assert {code[:3] for code in CATALOG} == set(generated.CHAPTERS)


def test_pages_of_the_gallery_have_their_pictures_and_programs(generated):
    pages = generated.gallery_pages()
    assert len(pages) > 10
    for name, text in pages.items():
        for target in re.findall(r"(?:\]\(|literalinclude\} )(\.\./\.\./[^)\s]+)", text):
            assert (DOCS / "generated" / target).resolve().exists(), f"{name}: {target}"
    assert all(f"]({name})" in pages["gallery.md"] for name in pages if name != "gallery.md")


def test_links_of_the_overview_lead_to_pages(generated):
    for target in re.findall(r"\]\(([^)#]+)\)", generated.overview_page()):
        assert "://" in target or (DOCS / "generated" / target).resolve().exists(), target


def test_links_out_of_the_pages_are_rewritten(generated):
    source = ["[gallery](../examples/README.md), [sharpness](../examples/sharpness/README.md), [README](../README.md), "
              "[xor](../examples/gallery/xor/README.md)"]
    generated.rewrite_links(None, "page", source)
    assert source == ["[gallery](/generated/gallery.md), sharpness (`examples/sharpness`), "
                      "[README](/generated/overview.md), [xor](/generated/gallery_xor.md)"]


def test_the_table_of_contents_has_every_page():
    listed = re.findall(r"^(?:Overview <)?([\w/-]+)>?$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")
             if not {"_build", "generated", "vscode"} & set(path.parts)}
    assert pages - {"index"} <= set(listed)


def documented() -> list[str]:
    """The objects of whose docstrings the reference is made."""
    return re.findall(r"\.\. auto(?:function|class|exception|data)::\s+(\S+)", (DOCS / "api-reference.md").read_text())


@pytest.mark.parametrize("name", documented())
def test_the_reference_names_what_there_is(name):
    module, attribute = name.rsplit(".", 1)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, ProgramError) as error:
        assert "sklearn" in str(error) or "torch" in str(error), error
        pytest.skip(str(error))
    assert found.__doc__
