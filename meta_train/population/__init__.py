"""The meta-step: particles over devices, the average of their estimates, and theta's move."""
