"""Grafana dashboards in a few words of Python each; tools/generate_dashboards.py makes the chart's JSON of them."""
