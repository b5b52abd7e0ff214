"""The passes over the typed program, in the order of `tensorprog.pipeline`."""
