"""A process node: a small kubelet for machines without a container runtime.

process_node  follows the pods bound to each node        registration  Node objects and their Leases
pod           one pod's life                             container     one container's life, over all its runs
container_run one run: probes, hooks, limits, signals    status        what is reported, purely from what was seen

What a process gets instead of what only a container has is in `substitutions`; what is refused, in `unsupported`.
"""
