"""The meta-step: particles on devices, the average of their estimates, and the update of theta."""
