import numpy as np

import tensorprog

data = np.load("digits.npz")
limit = tensorprog.compile("""
width n
size P, Q, d
input X : [P, d]
input y : [P]
input Z : [Q, d]
matrix U : [n, d] ~ normal(0, 1)
matrix W : [n, n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(x):
    return dot(v, relu(W @ relu(U @ x / sqrt(d)) / sqrt(n))) / sqrt(n)
for t in range(100):
    for a in range(P):
        f[a] = net(X[a])
    loss = mean((f[a] - y[a])**2 for a in range(P)) / 2
    U -= grad(loss, U)
    W -= grad(loss, W)
    v -= grad(loss, v)
for a in range(Q):
    g[a] = net(Z[a])
output g
""").run({"X": data["X"], "y": data["classes"][:, 0], "Z": data["Z"]})
print((limit["g"]**2).mean(), limit.spread["g"].variance.mean())
