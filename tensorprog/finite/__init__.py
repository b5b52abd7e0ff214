"""The program run at a finite width, with real vectors and real matrices: the oracle of the other stages."""

from tensorprog.finite.interpreter import simulate

__all__ = ["simulate"]
