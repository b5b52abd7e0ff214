"""Equations of a system as expressions in values of pairs of rows."""
