import numpy as np

import tensorprog

data = np.load("digits.npz")
limit = tensorprog.compile("""
width n
size P, Q, d, K
input X : [P, d]
input classes : [P, K]
input Z : [Q, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
matrix V : [K, n] ~ normal(0, 1/n**2)
for t in range(200):
    for a in range(P):
        f[a] = V @ relu(W @ relu(U @ X[a]))
    loss = mean(sum((f[a, k] - classes[a, k])**2 for k in range(K)) for a in range(P)) / 2
    U -= 2.0/d * n * grad(loss, U)
    W -= 2.0 * grad(loss, W)
    V -= 2.0/n * grad(loss, V)
for a in range(Q):
    g[a] = V @ relu(W @ relu(U @ Z[a]))
output g
""").run({name: data[name] for name in ("X", "classes", "Z")}, samples=512, replicates=2)
print((limit["g"].argmax(1) == data["labels"]).mean())
