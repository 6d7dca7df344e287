"""Certificates are believed by those who should, and by nobody else."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from fastgen_devcluster.certificates import Authority, Certificate, signing_key


def contexts(
    folder: Path, authority: Authority, server: Certificate, client: Certificate | None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server that demands certificates of `authority`, and a client that believes it."""
    trusted = folder / "authority.crt"
    trusted.write_bytes(authority.certificate)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted))
    serving.verify_mode = ssl.CERT_REQUIRED
    serving.load_cert_chain(*server.write(folder, "server"))
    asking = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        asking.load_cert_chain(*client.write(folder, "client"))
    return serving, asking


def shake_hands(serving: ssl.SSLContext, asking: ssl.SSLContext, name: str) -> bytes:
    """What a client that reaches the server by `name` reads there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            try:
                with serving.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(b"welcome")
            except (ssl.SSLError, OSError):
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            plain = socket.create_connection(listener.getsockname())
            with plain, asking.wrap_socket(plain, server_hostname=name) as secure:
                return secure.recv(16)
        finally:
            thread.join()


@pytest.fixture
def authority() -> Authority:
    return Authority.new("ours")


@pytest.mark.parametrize("name", ["localhost", "kubernetes.default.svc", "127.0.0.1"])
def test_a_server_and_a_client_of_one_authority_believe_each_other(
    tmp_path: Path, authority: Authority, name: str
) -> None:
    server = authority.server("api", names=("localhost", "kubernetes.default.svc"), addresses=("127.0.0.1",))
    assert shake_hands(*contexts(tmp_path, authority, server, authority.client("me")), name) == b"welcome"


def test_a_name_that_is_not_in_the_certificate_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    server = authority.server("api", names=("localhost",), addresses=())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(*contexts(tmp_path, authority, server, authority.client("me")), "example.org")


def test_a_client_of_another_authority_is_turned_away(tmp_path: Path, authority: Authority) -> None:
    server = authority.server("api", names=("localhost",), addresses=())
    stranger = Authority.new("theirs").client("me", groups=("system:masters",))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake_hands(*contexts(tmp_path, authority, server, stranger), "localhost")


def test_a_client_certificate_is_not_good_for_a_server(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(*contexts(tmp_path, authority, authority.client("me"), authority.client("me")), "localhost")


def test_user_and_groups_are_where_kubernetes_reads_them(authority: Authority) -> None:
    client = x509.load_pem_x509_certificate(authority.client("ada", groups=("engineers", "admins")).certificate)
    assert [a.value for a in client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["ada"]
    assert [a.value for a in client.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "engineers",
        "admins",
    ]


def test_keys_are_readable_by_their_owner_only(tmp_path: Path, authority: Authority) -> None:
    _, key = authority.client("me").write(tmp_path, "me")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_every_cluster_signs_tokens_with_a_key_of_its_own() -> None:
    assert signing_key() != signing_key()
