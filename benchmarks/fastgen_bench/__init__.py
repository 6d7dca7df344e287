"""Load, measurement and plots: what the promises cost and whether they are kept."""
