"""A real Kubernetes control plane on one machine, for the demonstration and the tests."""
