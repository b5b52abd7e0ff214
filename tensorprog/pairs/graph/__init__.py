"""The definitions of values of pairs as a graph, and what is done to it."""
