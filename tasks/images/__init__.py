"""Families on images."""
