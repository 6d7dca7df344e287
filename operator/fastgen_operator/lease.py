"""Who acts: the holder of a Lease. Others wait; a holder that cannot renew in time stops acting before they may begin.

A Lease's times are only compared with themselves: clocks of different machines need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import aiohttp

from fastgen.errors import FastGenError
from fastgen_operator.api.client import Api
from fastgen_operator.api.errors import ApiError
from fastgen_operator.api.kinds import LEASES

log = logging.getLogger("fastgen.operator")

DURATION_SECONDS = 15
"""Others may act when a Lease has not changed for so long."""
RENEW_SECONDS = 4.0
DEADLINE_SECONDS = 10.0
"""Without a renewal for so long the holder stops: well before DURATION_SECONDS."""
TRY_SECONDS = 3.0
"""How long one answer is waited for."""
LOOK_SECONDS = 1.0
"""How often those who wait look."""

Json = Mapping[str, Any]


class LeaseLostError(FastGenError):
    """Somebody else acts, or may by now. The process ends; its successor starts from what it finds."""


class Seen(NamedTuple):
    """A Lease as last looked at."""

    spec: Json
    at_seconds: float
    """When it was first seen like this, by our own clock."""


def may_take(seen: Seen, identity: str, now_seconds: float) -> bool:
    """Whether the Lease is nobody's, ours, or that of somebody who has not renewed it for as long as he promised."""
    holder = seen.spec.get("holderIdentity")
    if not holder or holder == identity:
        return True
    duration = seen.spec.get("leaseDurationSeconds") or DURATION_SECONDS
    return now_seconds - seen.at_seconds > float(duration)


class Lease:
    """One Lease object: `await acquire()`, then `await keep()` beside the work, then `await release()`."""

    def __init__(
        self, api: Api, namespace: str, name: str, identity: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._namespace, self._name, self.identity = api, namespace, name, identity
        self._now = now
        self._seen: Seen | None = None
        self._held: Json | None = None
        self._renewed_at_seconds = 0.0
        self._complaint = ""

    @property
    def is_held(self) -> bool:
        """Ours, and renewed a short while ago."""
        return self._renewed_at_seconds > 0.0 and self._now() - self._renewed_at_seconds < DEADLINE_SECONDS

    def check(self) -> None:
        """Raises LeaseLostError where nothing may be written any more."""
        if not self.is_held:
            raise LeaseLostError("the lease has not been renewed in time; nothing is written any more")

    async def acquire(self) -> None:
        """Wait for our turn."""
        told = ""
        while await self._try() != "ours":
            holder = str(self._seen.spec.get("holderIdentity")) if self._seen is not None else ""
            if holder != told and holder:
                log.info("standby: %s acts", holder)
                told = holder
            await asyncio.sleep(LOOK_SECONDS)
        log.info("this process acts now, as %s", self.identity)

    async def keep(self) -> None:
        """Renew until cancelled. Raises LeaseLostError, in time for nobody else to act yet."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                async with asyncio.timeout(self._renewed_at_seconds + DEADLINE_SECONDS - self._now()):
                    found = await self._try()
                    while found == "unknown":
                        await asyncio.sleep(LOOK_SECONDS)
                        found = await self._try()
            except TimeoutError:
                self._held = None
                raise LeaseLostError(f"the lease could not be renewed for {DEADLINE_SECONDS:.0f} s") from None
            if found == "theirs":
                holder = self._seen.spec.get("holderIdentity") if self._seen is not None else None
                raise LeaseLostError(f"the lease is {holder}'s")

    async def release(self) -> None:
        """Let a successor start at once. Best effort: without it he waits DURATION_SECONDS."""
        held, self._held, self._renewed_at_seconds = self._held, None, 0.0
        if held is None:
            return
        spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _time_text()}
        try:
            async with asyncio.timeout(2.0):
                await self._api.replace(LEASES, self._namespace, self._name, {**held, "spec": spec})
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("the lease could not be released: %s", error)

    async def _try(self) -> Literal["ours", "theirs", "unknown"]:
        """Take or renew it."""
        started = self._now()
        try:
            async with asyncio.timeout(TRY_SECONDS):
                held = await self._write_or_look_again(started)
        except (ApiError, aiohttp.ClientError, OSError) as error:
            self._complain(str(error) or "no answer in time")
            return "unknown"
        self._complaint = ""
        if held is None:
            self._held, self._renewed_at_seconds = None, 0.0
            return "theirs"
        self._held, self._renewed_at_seconds = held, started
        return "ours"

    def _complain(self, words: str) -> None:
        """Once: an outage is long, and looks are many."""
        if words != self._complaint:
            log.warning("lease %s/%s: %s; trying again", self._namespace, self._name, words)
        self._complaint = words

    async def _write_or_look_again(self, now: float) -> Json | None:
        try:
            return await self._write(now)
        except ApiError as error:
            if not (error.is_conflict or error.is_gone):
                raise
            self._held = None  # Somebody wrote it meanwhile: look who.
            return await self._write(now)

    async def _write(self, now: float) -> Json | None:
        """The Lease, written; None where it is somebody else's."""
        lease = self._held or await self._api.get_or_none(LEASES, self._namespace, self._name)
        if lease is None:
            return await self._api.create(LEASES, self._namespace, self._body(None))
        if self._seen is None or self._seen.spec != lease["spec"]:
            self._seen = Seen(lease["spec"], now)
        if not may_take(self._seen, self.identity, now):
            return None
        return await self._api.replace(LEASES, self._namespace, self._name, self._body(lease))

    def _body(self, lease: Json | None) -> dict[str, Any]:
        now = _time_text()
        before = (lease or {}).get("spec") or {}
        is_renewal = before.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": before.get("acquireTime", now) if is_renewal else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if is_renewal or not lease else 1),
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        if lease is not None:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


def _time_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
