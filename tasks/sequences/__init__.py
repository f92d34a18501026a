"""Families that read symbols."""
