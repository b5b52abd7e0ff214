"""Declarations that programs in several tests begin with."""

DECLARATIONS = """
width n
size P, d, T, K, L
input X : [P, d]
input y : [P]
input order : [T] int
param eta = 0.3
matrix U : [n, d] ~ normal(0, 1/d)
matrix V : [K, n] ~ normal(0, 1/n)
matrix W : [n, n] ~ normal(0, 1/n)
matrix B[L] : [n, n] ~ normal(0, 1/n)
vector u : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
vector w[L] : [n] ~ normal(0, 1)
"""
