"""Tuning hyperparameters: theta is their free numbers."""
