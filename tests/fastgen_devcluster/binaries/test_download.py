"""A download is whole, resumed where it was cut, and used only with the right SHA-256."""

import socket
import threading
import time
import urllib.request
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import pytest
from file_server import FileServer

from fastgen_devcluster.binaries import download
from fastgen_devcluster.binaries.download import Source
from fastgen_devcluster.binaries.errors import NotObtainedError

CONTENT = bytes(range(256)) * 4000


def said_nothing(text: str) -> None:
    pass


def test_a_file_is_downloaded(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    said: list[str] = []
    got = download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said.append)
    assert got.read_bytes() == CONTENT
    assert said == [f"hammer: downloading 1.0 MB from {server.url.removeprefix('http://')}"]


def test_a_cut_download_is_taken_up_where_it_was_cut(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    server.cuts = [300_000, 100_000]
    said: list[str] = []
    got = download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said.append)
    assert got.read_bytes() == CONTENT
    assert [asked.range for asked in server.gets()] == [None, "bytes=300000-", "bytes=400000-"]
    assert sum("the download was cut (" in line for line in said) == 2


def test_the_next_start_goes_on_with_what_an_earlier_one_left(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    (tmp_path / "hammer").write_bytes(CONTENT[:1000])
    download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert [asked.range for asked in server.gets()] == ["bytes=1000-"]
    assert (tmp_path / "hammer").read_bytes() == CONTENT


def test_a_download_that_was_whole_already_is_not_fetched_twice(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    (tmp_path / "hammer").write_bytes(CONTENT)
    download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert (tmp_path / "hammer").read_bytes() == CONTENT


def test_a_server_without_ranges_is_read_from_the_beginning(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    server.honours_ranges = False
    server.cuts = [300_000]
    got = download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert got.read_bytes() == CONTENT


def test_leftovers_of_another_file_do_no_harm(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    (tmp_path / "hammer").write_bytes(b"something else entirely")
    got = download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert got.read_bytes() == CONTENT


def test_a_wrong_checksum_is_told_and_nothing_is_left(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/hammer", CONTENT)
    wanted = "0" * 64
    with pytest.raises(NotObtainedError, match=f"its SHA-256 is {digest}, expected was {wanted}"):
        download.download(Source("hammer", f"{server.url}/hammer", wanted), tmp_path / "hammer", said_nothing)
    assert not (tmp_path / "hammer").exists()


def test_a_connection_that_is_always_cut_is_given_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CUTS_ALLOWED", 2)
    digest = server.serve("/hammer", CONTENT)
    server.cuts = [10, 10, 10]
    with pytest.raises(NotObtainedError, match="cut 3 times, at last by: 1023970 bytes short"):
        download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert (tmp_path / "hammer").stat().st_size == 30  # for the next start


def test_a_disk_that_is_full_is_not_taken_for_a_bad_connection(server: FileServer) -> None:
    digest = server.serve("/hammer", CONTENT)
    with pytest.raises(NotObtainedError, match="/dev/full cannot be written: No space left on device"):
        download.download(Source("hammer", f"{server.url}/hammer", digest), Path("/dev/full"), said_nothing)
    assert len(server.gets()) == 1


def test_redirects_are_followed(server: FileServer, tmp_path: Path) -> None:
    digest = server.serve("/elsewhere", CONTENT)
    server.redirects["/hammer"] = f"{server.url}/elsewhere"
    got = download.download(Source("hammer", f"{server.url}/hammer", digest), tmp_path / "hammer", said_nothing)
    assert got.read_bytes() == CONTENT


def test_a_redirect_out_of_tls_is_refused() -> None:
    secure = urllib.request.Request("https://secure.test/hammer")
    with pytest.raises(URLError, match="redirected from https to http://"):
        download.OnlySafeRedirects().redirect_request(secure, None, 302, "Found", Message(), "http://plain.test/hammer")


def test_a_missing_file_is_told_at_once(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(NotObtainedError, match="/hammer: the server answers 404 Not Found"):
        download.download(Source("hammer", f"{server.url}/hammer", "0" * 64), tmp_path / "hammer", said_nothing)
    assert len(server.gets()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{digest}",
        "{digest}\n",
        "{other}  saw-linux\n{digest}  hammer-linux\n",
        "{other} *saw-linux\n{digest} *hammer-linux\n",
        "# comments\n{digest}  hammer-linux\n",
    ],
)
def test_a_published_digest_is_found(server: FileServer, text: str) -> None:
    server.serve("/sums", text.format(digest="ab" * 32, other="cd" * 32).encode())
    assert download.published_sha256(f"{server.url}/sums", "hammer-linux") == "ab" * 32


@pytest.mark.parametrize("text", ["", "<html>not found</html>", "{digest}  hammer-linux.exe\n", "{digest}\n{digest}\n"])
def test_a_list_without_the_digest_is_told(server: FileServer, text: str) -> None:
    server.serve("/sums", text.format(digest="ab" * 32).encode())
    with pytest.raises(NotObtainedError, match="/sums: no SHA-256 of hammer-linux in it"):
        download.published_sha256(f"{server.url}/sums", "hammer-linux")


def test_hosts_that_refuse_or_say_nothing_are_known_quickly(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "REACH_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        silent_host, closed_host = (f"127.0.0.1:{each.getsockname()[1]}" for each in (silent, closed))
        closed.close()
        began = time.monotonic()
        away = download.unreachable([f"http://{silent_host}/a", f"http://{closed_host}/b", f"{server.url}/c"])
        assert time.monotonic() - began < 3
    assert set(away) == {silent_host, closed_host}
    assert "timed out" in away[silent_host]
    assert "refused" in away[closed_host]


def test_names_that_take_for_ever_to_look_up_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REACH_SECONDS", 0.2)
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(30)
        raise OSError("not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    assert download.unreachable(["http://slow.test/file"]) == {"slow.test": "no answer within 0.2 s"}
    assert time.monotonic() - began < 5
    over.set()


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert set(download.unreachable(["https://no-such-host.invalid/file"])) == {"no-such-host.invalid"}
