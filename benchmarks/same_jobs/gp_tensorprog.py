import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel

from tensorprog.sklearn import LimitKernel

data = np.load("digits.npz")
kernel = LimitKernel("""
width n
size P, d
param w = 1.5
param b = 0.5
input X : [P, d]
matrix U : [n, d] ~ normal(0, w**2/d)
matrix W : [n, n] ~ normal(0, w**2/n)
vector c : [n] ~ normal(0, b**2)
vector v : [n] ~ normal(0, w**2)
for a in range(P):
    f[a] = dot(v, relu(W @ relu(U @ X[a]) + c)) / sqrt(n)
for a in range(P):
    for e in range(P):
        nngp[a, e] = cov(f[a], f[e])
output nngp
""", "nngp")
model = GaussianProcessRegressor(kernel + WhiteKernel(1e-2), normalize_y=True).fit(data["X"], data["classes"])
print((model.predict(data["Z"]).argmax(1) == data["labels"]).mean())
