"""Families on tables and drawn numbers."""
