"""The loop: a queue of deployments to look at, and workers that look."""
