"""Wrappers that change a task."""
