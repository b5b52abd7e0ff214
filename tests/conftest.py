"""Tests compile every program anew: what an earlier run kept on disk would hide a change that a test makes."""

import os

import pytest

os.environ["TENSORPROG_NO_CACHE"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`quick` names the cases of a test that are not slow, `slow_cases` those that are."""
    for item in items:
        case = item.callspec.id if hasattr(item, "callspec") else None
        quick, slow = item.get_closest_marker("quick"), item.get_closest_marker("slow_cases")
        if quick and case not in quick.args or slow and case in slow.args:
            item.add_marker("slow")
