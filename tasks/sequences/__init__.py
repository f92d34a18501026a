"""Families that read symbols and series."""
