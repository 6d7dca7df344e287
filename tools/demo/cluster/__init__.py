"""`make demo`: a real Kubernetes control plane, the chart, one manifest, load, and replicas that follow it.

plan ──► offering ──► balancer, replicas ──► Prometheus ──► operator ──► scale
                                                  │             │ status
                                                  ▼             ▼
                                                 observing ──► recording ──► table, plot
"""
