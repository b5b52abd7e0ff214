"""Tests that need torch, which is an extra: without it, none is collected.

`torch.nn`, because this very folder would pass for a package named torch.
"""

import pytest

try:
    import torch.nn
except ModuleNotFoundError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)
