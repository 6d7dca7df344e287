"""Certificates of one cluster: who may speak for whom, made anew at every start and thrown away with it.

    authority = Authority.new("fastgen-devcluster")
    server = authority.server("kube-apiserver", names=("localhost",), addresses=("127.0.0.1",))
    admin = authority.client("admin", groups=("system:masters",))

Kubernetes reads a user's name from a client certificate's common name and their groups from its organizations.
Keys are P-256: as good as RSA here, and made in a millisecond.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=365)
CLOCK_SKEW = datetime.timedelta(hours=1)
"""How far in the past a certificate begins, for a clock that is set back meanwhile."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """NAME.crt and NAME.key (readable by their owner only) in `folder`, which exists."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return certificate, key


@dataclass(frozen=True)
class Authority:
    """Signs for those who trust it."""

    certificate: bytes
    _signed: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> Authority:
        """An authority that signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        signed = (
            _builder(subject, subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(signed.public_bytes(serialization.Encoding.PEM), signed, key)

    def server(self, name: str, *, names: Sequence[str], addresses: Sequence[str]) -> Certificate:
        """For a server reached by these host names and IP addresses; also good as a client's, as etcd needs."""
        alternatives = [
            *(x509.DNSName(host) for host in names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        return self._issue(_subject(name), alternatives)

    def client(self, user: str, *, groups: Sequence[str] = ()) -> Certificate:
        """For a client that is `user` in `groups`."""
        return self._issue(_subject(user, groups), [])

    def _issue(self, subject: x509.Name, alternatives: list[x509.GeneralName]) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(subject, self._signed.subject, key.public_key())
        if alternatives:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        signed = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(signer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(signed.public_bytes(serialization.Encoding.PEM), _private_pem(key))


def signing_key() -> tuple[bytes, bytes]:
    """A private key and its public half, PEM each: what service-account tokens are signed with and checked by."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _private_pem(key), public


def _subject(name: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
