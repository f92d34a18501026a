"""Functions without data."""
