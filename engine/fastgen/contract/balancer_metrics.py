"""Names of the metrics a balancer publishes. The autoscaler reads the offered load and the held requests."""

from __future__ import annotations

from typing import Final

BALANCER_REQUESTS: Final = "fastgen_balancer_requests_total"
BALANCER_OFFERED_REQUESTS: Final = "fastgen_balancer_offered_requests_total"
BALANCER_OFFERED_TOKENS: Final = "fastgen_balancer_offered_tokens_total"
BALANCER_RETRIES: Final = "fastgen_balancer_retries_total"
BALANCER_CUT_STREAMS: Final = "fastgen_balancer_cut_streams_total"
BALANCER_EJECTIONS: Final = "fastgen_balancer_ejections_total"
BALANCER_QUEUE_SECONDS: Final = "fastgen_balancer_queue_seconds"
BALANCER_UPSTREAM_SECONDS: Final = "fastgen_balancer_upstream_first_byte_seconds"
BALANCER_HELD_REQUESTS: Final = "fastgen_balancer_held_requests"
BALANCER_IN_FLIGHT: Final = "fastgen_balancer_in_flight_requests"
BALANCER_OUTSTANDING_TOKENS: Final = "fastgen_balancer_outstanding_tokens"
BALANCER_REPLICAS: Final = "fastgen_balancer_replicas"
