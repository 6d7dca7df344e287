"""`fastgen operator --check`: does this cluster have what it needs, and does somebody act? For `helm test`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp

from fastgen.contract import labels
from fastgen_operator.api.access import connect, own_namespace
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import FASTGEN_DEPLOYMENTS, LEASES
from fastgen_operator.config import OperatorConfig

PATIENCE_SECONDS = 20.0
"""An operator that was installed a moment ago may not have begun yet."""
LOOK_SECONDS = 1.0


class Finding(NamedTuple):
    """One line of the table."""

    what: str
    is_good: bool
    words: str


async def check(config: OperatorConfig, patience_seconds: float = PATIENCE_SECONDS) -> int:
    """Print a table; 0 where all is well, 1 where it is not within `patience_seconds`."""
    transport = await connect()
    try:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_seconds
        while True:
            findings = await _findings(Api(transport), config)
            good = all(finding.is_good for finding in findings)
            if good or loop.time() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await transport.close()  # type: ignore[no-untyped-call]
    for finding in findings:
        print(f"{'ok  ' if finding.is_good else 'FAIL'}  {finding.what:<12}{finding.words}")
    return 0 if good else 1


async def _findings(api: Api, config: OperatorConfig) -> list[Finding]:
    return [await _definition(api), await _lease(api, config)]


async def _definition(api: Api) -> Finding:
    try:
        if await api.serves(FASTGEN_DEPLOYMENTS):
            return Finding("definition", True, f"{labels.KIND} ({labels.API_VERSION}) is served")
    except (ApiError, aiohttp.ClientError, OSError) as error:
        return Finding("definition", False, f"the API server does not answer: {error}")
    return Finding(
        "definition", False, f"{labels.API_VERSION} is not served: kubectl apply -f crds/fastgendeployments.yaml"
    )


async def _lease(api: Api, config: OperatorConfig) -> Finding:
    namespace = config.lease_namespace or own_namespace()
    where = f"lease {namespace}/{config.lease_name}"
    try:
        lease = await api.get_or_none(LEASES, namespace, config.lease_name)
    except (ApiError, aiohttp.ClientError, OSError) as error:
        return Finding("operator", False, f"{where} cannot be read: {error}")
    spec = (lease or {}).get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        return Finding("operator", False, f"nobody holds {where}: look at the operator's pods and their logs")
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > float(spec.get("leaseDurationSeconds") or 0):
        return Finding("operator", False, f"{holder} has not renewed {where} for {age:.0f} s: look at its log")
    return Finding("operator", True, f"{holder} acts ({where}, renewed {max(0.0, age):.0f} s ago)")
