"""Linear layers: the fastest of several ways to multiply, measured on this machine."""
