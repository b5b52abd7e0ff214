"""Tests that need torch, which is an extra. `torch.nn`, because this very folder would pass for a package named
torch."""

import pytest

pytest.importorskip("torch.nn")


@pytest.fixture(autouse=True)
def _one_thread():
    from torch import manual_seed, set_num_threads

    set_num_threads(1)
    manual_seed(0)
