"""The covariance evaluator: a limit program as a system of equations between covariances, means and scalars."""
