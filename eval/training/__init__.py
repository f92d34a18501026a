"""Training runs of optimizers: baselines and their sweeps, suites of tasks, curves and costs."""
