import neural_tangents as nt
import numpy as np
from neural_tangents import stax

data = np.load("digits.npz")
_, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dense(1), stax.Relu(), stax.Dense(1))
predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, data["X"], data["classes"][:, :1], learning_rate=1.0)
mean, covariance = predict(t=100, x_test=data["Z"], get="ntk", compute_cov=True)
print(float(np.square(np.asarray(mean)).mean()), float(np.diag(np.asarray(covariance).squeeze()).mean()))
