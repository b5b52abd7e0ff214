"""Programs with a known maximal update parametrization, each in the standard parametrization with one learning rate."""

from __future__ import annotations


def perceptron(depth: int, phi: str = "tanh", readout: str = "dot") -> str:
    """A perceptron with `depth` hidden layers; the readout is a sum over coordinates, or an average."""
    hidden = "".join(f"matrix W{k} : [n, n] ~ normal(0, 1/n)\n" for k in range(2, depth + 1))
    layers = "".join(f"    h{k} = W{k} @ {phi}(h{k - 1})\n" for k in range(2, depth + 1))
    sum_ = f"dot(v, {phi}(h{depth}))" if readout == "dot" else f"moment(v * {phi}(h{depth}))"
    updates = "".join(f"    {name} -= eta * grad(loss[t], {name})\n"
                      for name in ["U", *(f"W{k}" for k in range(2, depth + 1)), "v"])
    return f"""width n
size P, d
param eta = 0.1
param T : int = 3
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
{hidden}vector v : [n] ~ normal(0, 1/n)

def net(xi):
    h1 = U @ xi
{layers}    return {sum_}

for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2
{updates}output loss
"""


RNN = """width n
size S, d, K
param eta = 0.1
param T : int = 3
input X : [S, d]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
matrix V : [K, n] ~ normal(0, 1/n)
vector b : [n] = 0
for k in range(K):
    c[k] = 0.0

for t in range(T):
    h = b
    for s in range(S):
        h = tanh(W @ h + U @ X[s] + b)
    out[t] = V @ h + c
    loss[t] = cross_entropy(out[t], 0)
    U -= eta * grad(loss[t], U)
    W -= eta * grad(loss[t], W)
    V -= eta * grad(loss[t], V)
    b -= eta * grad(loss[t], b)
    for k in range(K):
        c[k] -= eta * grad(loss[t], c[k])
output loss
"""


def transformer(tied: bool, logit: str = "dot(q[i], k[j])") -> str:
    """One block: embedding, attention, layer normalizations with gains and biases, a readout."""
    readout = "E" if tied else "R"
    declared = "" if tied else "matrix R : [C, n] ~ normal(0, 1/n)\n"
    trained = ["E", "Q", "K", "V", "O", "A", "B", "g", "b", *([] if tied else ["R"])]
    updates = "".join(f"    {name} -= eta * grad(loss[t], {name})\n" for name in trained)
    return f"""width n
size S, C
param eta = 0.1
param T : int = 3
input ids : [S] int
matrix E : [C, n] ~ normal(0, 1)
matrix Q : [n, n] ~ normal(0, 1/n)
matrix K : [n, n] ~ normal(0, 1/n)
matrix V : [n, n] ~ normal(0, 1/n)
matrix O : [n, n] ~ normal(0, 1/n)
matrix A : [n, n] ~ normal(0, 1/n)
matrix B : [n, n] ~ normal(0, 1/n)
vector g : [n] ~ constant(1)
vector b : [n] = 0
{declared}
for t in range(T):
    for i in range(S):
        x[i] = E[ids[i]]
        z[i] = g*layernorm(x[i]) + b
        q[i] = Q @ z[i]
        k[i] = K @ z[i]
    for i in range(S):
        for j in range(S):
            logit[i, j] = {logit}
        a[i] = softmax(logit[i])
        r[i] = x[i] + O @ sum(a[i, j] * (V @ z[j]) for j in range(S))
        out[i] = {readout} @ layernorm(r[i] + A @ gelu(B @ layernorm(r[i])))
    loss[t] = mean(cross_entropy(out[i], ids[(i + 1) % S]) for i in range(S))
{updates}output loss
"""


def parametrized(a: tuple, b: tuple, c: object) -> str:
    """A tanh network with W^l = n^(-a_l) w^l, w^l ~ N(0, n^(-2 b_l)), and learning rate n^(-c), the readout last."""
    depth = len(a) - 1
    objects = ["U", *(f"W{k}" for k in range(2, depth + 1)), "v"]
    kinds = ["matrix U : [n, d]", *(f"matrix W{k} : [n, n]" for k in range(2, depth + 1)), "vector v : [n]"]
    declared = "".join(f"{kind} ~ normal(0, n**({-2 * e}))\n" for kind, e in zip(kinds, b))
    layers = "".join(f"        h{k}[t, i] = n**({-a[k - 1]}) * (W{k} @ tanh(h{k - 1}[t, i]))\n"
                     for k in range(2, depth + 1))
    updates = "".join(f"    {name} -= n**({-c}) * grad(loss[t], {name})\n" for name in objects)
    return f"""width n
size P, d
param T : int = 4
input X : [P, d]
input y : [P]
{declared}
for t in range(T):
    for i in range(P):
        h1[t, i] = n**({-a[0]}) * (U @ X[i])
{layers}        f[t, i] = n**({-a[-1]}) * dot(v, tanh(h{depth}[t, i]))
    loss[t] = mean((f[t, i] - y[i])**2 for i in range(P)) / 2
{updates}
output loss
"""
