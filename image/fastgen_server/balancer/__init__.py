"""The load balancer: HTTP and gRPC passed through to the replica with the least work ahead.

    http_proxy, grpc_proxy   the bytes' two ways through
    pool                     which replicas there are, who is picked, who waits while there is none
    policies, work, health   the decisions, pure: which replica, how much work a request is, who is well
    discovery                where the list of replicas comes from
    app                      start, readiness, drain, exit

Nothing here imports torch, transformers or the engine: the balancer runs in the light image.
"""
