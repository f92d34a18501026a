"""Families on graphs."""
