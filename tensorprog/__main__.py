"""`python -m tensorprog` is `tpc`."""

from tensorprog.start import main

main()
