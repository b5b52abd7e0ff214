"""`python -m tensorprog` is `tpc`."""

from tensorprog.cli import main

main(prog_name="tpc")
