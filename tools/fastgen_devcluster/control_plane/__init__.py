"""The programs of a control plane: how each is called, when it is ready, in which order they start and stop."""
