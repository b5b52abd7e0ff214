"""From the limit program to a Python module of NumPy calls and Numba kernels."""
