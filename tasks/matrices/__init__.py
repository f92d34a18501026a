"""Matrices and vectors of a known structure: low rank, few observed entries, few coefficients."""
