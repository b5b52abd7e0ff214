"""Tests compile every program anew: what an earlier run kept on disk would hide a change that a test makes."""

import os

os.environ["TENSORPROG_NO_CACHE"] = "1"
