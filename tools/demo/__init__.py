"""`make demo`: see FastGen work, in minutes, on the machine in front of you."""
