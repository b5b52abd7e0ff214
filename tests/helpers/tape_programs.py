"""Programs whose kernels over pairs of rows run by tapes."""

KERNELS = """
for a in range(P):
    for c in range(P):
        K[a, c] = cov(f[a], f[c])
        T[a, c] = ntk(f[a], f[c]; {})
output K, T
"""
RECURRENT = """
width n
size P, S, d
input X : [P, S, d]
matrix W : [n, n] ~ normal(0, 1)
matrix U : [n, d] ~ normal(0, 1)
vector b : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
for a in range(P):
    h[a, 0] = sqrt(1/d) * (U @ X[a, 0]) + 0.1*b
    for t in range(1, S):
        h[a, t] = (W @ erf(h[a, t-1])) / sqrt(n) + sqrt(1/d) * (U @ X[a, t]) + 0.1*b
    f[a] = dot(v, erf(h[a, S-1])) / sqrt(n)
""" + KERNELS.format("W, U, b, v")
