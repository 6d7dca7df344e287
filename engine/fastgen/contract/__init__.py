"""What operator, server and local deployments agree on: manifest, labels, ports, metric names. No torch."""
