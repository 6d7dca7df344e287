"""Downloading a file whole: resumed after a cut, across starts, and kept only with the right SHA-256."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from fastgen_devcluster.binaries.errors import NotObtainedError

REACH_SECONDS = 4.0
"""How long a host may take to answer at all; where there is no network, the next way begins within seconds."""
SILENCE_SECONDS = 20.0
"""How long a download may stand still before it is taken up again."""
CUTS_ALLOWED = 5
_CHUNK_BYTES = 1 << 18
_SAY_EVERY_SECONDS = 5.0
_FEW_BYTES = 1 << 20
_OURS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EISDIR})
"""What goes wrong on this side of a download."""
_UNREACHABLE = (OSError, http.client.HTTPException)


class Source(NamedTuple):
    """What is downloaded."""

    what: str
    """What it is called where progress is told."""
    url: str
    sha256: str


class OnlySafeRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect may not leave TLS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"redirected from https to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(OnlySafeRedirects)


def unreachable(urls: Iterable[str]) -> dict[str, str]:
    """The hosts behind `urls` that do not answer, and why; all are asked at once."""
    hosts = {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}/": urlsplit(url).netloc for url in urls}
    if not hosts:
        return {}
    answers: dict[str, str | None] = {}

    def ask(url: str, host: str) -> None:
        answers[host] = _why_unreachable(url)

    # Threads that nobody waits for: looking up a name may take far longer than any timeout that can be set.
    threads = [threading.Thread(target=ask, args=(url, host), daemon=True) for url, host in hosts.items()]
    deadline = time.monotonic() + REACH_SECONDS + 1.0
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = f"no answer within {REACH_SECONDS:g} s"
    found = {host: answers.get(host, silent) for host in hosts.values()}
    return {host: why for host, why in found.items() if why is not None}


def _why_unreachable(url: str) -> str | None:
    try:
        with _open(url, REACH_SECONDS, method="HEAD"):
            return None
    except urllib.error.HTTPError:
        return None  # whatever it says, it is there
    except _UNREACHABLE as failure:
        return _reason(failure)


def download(source: Source, into: Path, on_progress: Callable[[str], None]) -> Path:
    """Download to `into`. What an earlier attempt left there is gone on with."""
    resumed = into.exists() and into.stat().st_size > 0
    _download_despite_cuts(source, into, on_progress)
    if resumed and sha256_of(into) != source.sha256:
        # What was left may have been another file's: once more, from its beginning.
        into.unlink()
        _download_despite_cuts(source, into, on_progress)
    is_sha256 = sha256_of(into)
    if is_sha256 != source.sha256:
        into.unlink()
        raise NotObtainedError(f"{source.url}: its SHA-256 is {is_sha256}, expected was {source.sha256}; not used")
    return into


def published_sha256(url: str, file_name: str) -> str:
    """The digest of `file_name` in upstream's list at `url`; a list of one bare digest is taken as it is."""
    try:
        with _open(url, SILENCE_SECONDS) as answer:
            lines = answer.read(_FEW_BYTES).decode("utf-8", "replace").splitlines()
    except _UNREACHABLE as failure:
        raise NotObtainedError(f"{url}: {_reason(failure)}") from None
    for line in lines:
        words = line.split()
        named = len(words) == 2 and words[1].lstrip("*") == file_name
        if words and len(words[0]) == 64 and (named or (len(words) == 1 and len(lines) == 1)):
            return words[0].lower()
    raise NotObtainedError(f"{url}: no SHA-256 of {file_name} in it")


def _download_despite_cuts(source: Source, into: Path, on_progress: Callable[[str], None]) -> None:
    for attempt in range(CUTS_ALLOWED + 1):
        try:
            return _download_once(source, into, on_progress)
        except urllib.error.HTTPError as failure:
            if failure.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return None  # nothing is left to get; the digest will tell
            raise NotObtainedError(f"{source.url}: {_reason(failure)}") from None
        except _UNREACHABLE as failure:
            if isinstance(failure, OSError) and failure.errno in _OURS:
                raise NotObtainedError(f"{into} cannot be written: {failure.strerror}") from None
            if attempt == CUTS_ALLOWED:
                raise NotObtainedError(
                    f"{source.url}: cut {attempt + 1} times, at last by: {_reason(failure)}"
                ) from None
            on_progress(f"{source.what}: the download was cut ({_reason(failure)}); going on")
            time.sleep(0.2 * attempt)
    return None


def _download_once(source: Source, into: Path, on_progress: Callable[[str], None]) -> None:
    have_bytes = into.stat().st_size if into.exists() else 0
    headers = {"Range": f"bytes={have_bytes}-"} if have_bytes else {}
    with _open(source.url, SILENCE_SECONDS, headers=headers) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if not goes_on:
            have_bytes = 0
        total_bytes = have_bytes + int(answer.headers.get("Content-Length") or 0)
        with into.open("ab" if goes_on else "wb") as file:
            _copy(answer, file, _teller(source, have_bytes, total_bytes, on_progress))
    if into.stat().st_size < total_bytes:
        raise http.client.IncompleteRead(b"", total_bytes - into.stat().st_size)


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], tell: Callable[[int], None]) -> None:
    while data := answer.read(_CHUNK_BYTES):
        file.write(data)
        tell(len(data))


def _teller(
    source: Source, have_bytes: int, total_bytes: int, on_progress: Callable[[str], None]
) -> Callable[[int], None]:
    host = urlsplit(source.url).netloc
    started = said_at = time.monotonic()
    on_progress(f"{source.what}: downloading {_megabytes(total_bytes)} from {host}")

    def tell(count_bytes: int) -> None:
        nonlocal have_bytes, said_at
        have_bytes += count_bytes
        now = time.monotonic()
        if now - said_at >= _SAY_EVERY_SECONDS:
            said_at = now
            so_far = f"{_megabytes(have_bytes)} of {_megabytes(total_bytes)}"
            on_progress(f"{source.what}: {so_far} from {host}, {now - started:.0f} s")

    return tell


def _megabytes(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:.1f} MB" if count_bytes else "? MB"


@contextlib.contextmanager
def _open(
    url: str, timeout_seconds: float, *, method: str = "GET", headers: dict[str, str] | None = None
) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, method=method, headers=headers or {})  # noqa: S310 - pinned addresses
    request.add_header("User-Agent", "fastgen-devcluster")
    with _opener.open(request, timeout=timeout_seconds) as answer:
        yield answer


def _reason(failure: BaseException) -> str:
    if isinstance(failure, urllib.error.HTTPError):
        return f"the server answers {failure.code} {failure.reason}"
    if isinstance(failure, urllib.error.URLError):
        return str(failure.reason)
    if isinstance(failure, http.client.IncompleteRead):
        return f"{failure.expected} bytes short" if failure.expected else "cut short"
    return str(failure) or type(failure).__name__


def sha256_of(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
