"""Powers of n as a calculus: the maximal update parametrization of a program, and the scale of every value."""
