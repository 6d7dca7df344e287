"""The step loop in a process of its own, and the asyncio front end that talks to it.

    front end (HTTP, gRPC, text)          worker (engine)
    AsyncEngine ── Submit, Cancel ──────► reader thread ─► step loop
                ◄── StepReport, one a step ───────────────────┘

One socketpair, length-prefixed msgpack both ways; the end of the stream is the death of the other side.
"""
