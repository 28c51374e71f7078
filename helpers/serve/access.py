"""Who may come in: the token, and the certificate that a client sees."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError

LOCAL = "127.0.0.1"
NO_TOKEN = "the access token is missing: paste the one that the server printed at its start"
WRONG_TOKEN = "the access token is wrong: paste the one that the server printed at its start"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(32)


def refusal(authorization: str | None, token: str | None) -> str | None:
    """Say why a request may not come in; None where it may.

    Digests are compared, in constant time: neither the length of the token nor how much of it is right shows in the time.

    Parameters
    ----------
    authorization : str or None
        What was sent: ``Bearer`` and the token.
    token : str or None
        The server's; None: everybody may come in.
    """
    if token is None:
        return None
    kind, _, sent = (authorization or "").partition(" ")
    same = hmac.compare_digest(_digest(sent.strip()), _digest(token))
    if same and kind.lower() == "bearer":
        return None
    return WRONG_TOKEN if sent else NO_TOKEN


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files.

    Attributes
    ----------
    certificate, key : Path
    """

    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        for name in ("certificate", "key"):
            path = getattr(self, name)
            if not path.is_file():
                raise InputError(f"TLS {name}", str(path), "a PEM file: there is none of this name")

    def read(self) -> tuple[bytes, bytes]:
        """Return the key and the certificate.

        Raises
        ------
        InputError
            If they do not belong together, or are no PEM files.
        """
        import ssl

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            expected = f"a PEM certificate and its key ({error})"
            raise InputError("TLS certificate", str(self.certificate), expected) from None
        return self.key.read_bytes(), self.certificate.read_bytes()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers show it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        loaded = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return loaded.fingerprint(hashes.SHA256()).hex(":").upper()

    @classmethod
    def self_made(cls, folder: Path, host: str) -> Certificate:
        """Return the certificate that lies in a folder, made there if there is none, for this machine's names.

        Parameters
        ----------
        folder : Path
        host : str
            Address at which the server listens.
        """
        found = folder / "certificate.pem", folder / "key.pem"
        if not all(path.is_file() for path in found):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path, content in zip(found, _make_certificate(host), strict=True):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
        return cls(*found)


def _make_certificate(host: str) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    names = {"localhost", socket.gethostname(), socket.getfqdn()}
    addresses = {LOCAL, "::1"}
    try:
        addresses.add(str(ipaddress.ip_address(host)))
    except ValueError:
        names.add(host)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "volltrack")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(n) for n in sorted(names) if n.isascii()]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in sorted(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
