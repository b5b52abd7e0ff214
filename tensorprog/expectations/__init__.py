"""Expectations of functions of Gaussian variables: closed forms, a table that users can extend, and quadrature."""

from tensorprog.expectations.functions import from_primitive
from tensorprog.expectations.plan import NoRecipe, Recipe, plan_expectation
from tensorprog.expectations.table import K11, K12, K22, Row, U, V, register, rows, unregister

__all__ = ["K11", "K12", "K22", "NoRecipe", "Recipe", "Row", "U", "V", "from_primitive", "plan_expectation", "register",
           "rows", "unregister"]
