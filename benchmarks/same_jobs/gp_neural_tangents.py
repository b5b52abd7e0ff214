import neural_tangents as nt
import numpy as np
from neural_tangents import stax

data = np.load("digits.npz")
_, _, kernel_fn = stax.serial(stax.Dense(1, W_std=1.5), stax.Relu(), stax.Dense(1, W_std=1.5, b_std=0.5), stax.Relu(),
                              stax.Dense(1, W_std=1.5))
predict = nt.predict.gradient_descent_mse_ensemble(kernel_fn, data["X"], data["classes"], diag_reg=1e-2)
print((np.asarray(predict(x_test=data["Z"], get="nngp")).argmax(1) == data["labels"]).mean())
