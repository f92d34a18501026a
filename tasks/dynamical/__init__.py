"""Families whose loss differentiates a network by its inputs, or simulates something."""
