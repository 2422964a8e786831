"""An internet of our own: names, the addresses they have today, and certificates for them."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from socket import gaierror
from tempfile import TemporaryDirectory
from typing import Any

import httpcore
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NAME = "news.example"
PUBLIC = "93.184.216.34"


@dataclass
class Internet(httpcore.AsyncNetworkBackend):
    """Resolves and connects: each name has a list of answers, the last of which stays.

    Whatever address is dialled is answered by the site at `port`; `dialled` says which they were.
    """

    port: int
    answers: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()
    dialled: list[tuple[str, int]] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        if host not in self.answers:
            raise gaierror(-2, "Name or service not known")
        answers = self.answers[host]
        return answers[min(self.looked_up.count(host), len(answers)) - 1]

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.dialled.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("nobody there")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


@cache
def certificate(name: str) -> tuple[bytes, bytes]:
    """A key and a certificate of `name`, signed by itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, made.public_bytes(Encoding.PEM)


def serving(name: str = NAME) -> ssl.SSLContext:
    """What a server that has the certificate of `name` speaks with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        file.write_bytes(b"".join(certificate(name)))
        context.load_cert_chain(file)
    return context


@cache
def trusting(name: str = NAME) -> ssl.SSLContext:
    """What a client that trusts the certificate of this name, and no other, speaks with."""
    return ssl.create_default_context(cadata=certificate(name)[1].decode())
