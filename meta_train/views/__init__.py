"""Runs drawn: on the terminal, as a figure, as a page."""
