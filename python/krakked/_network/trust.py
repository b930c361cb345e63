"""The certificates behind `tls_context`, as DER, for a TLS that is not OpenSSL's.

The same sources, read the way OpenSSL reads them; `SSLContext.get_ca_certs` cannot tell, since
OpenSSL opens a directory's files only when it needs one. What is missed here costs a detour, no
more: whom the other TLS refuses OpenSSL is asked about.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import sys
from pathlib import Path
from typing import Final

import certifi

_PEM: Final = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----(.+?)-----END (?:X509 )?CERTIFICATE-----", re.DOTALL
)
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""What OpenSSL looks for in a directory: a hash of the subject, and a number."""
_SERVER_AUTH: Final = "1.3.6.1.5.5.7.3.1"
"""Key purpose of TLS servers (RFC 5280, 4.2.1.12)."""


def trust_sources() -> tuple[tuple[str, int], ...]:
    """Name the files and directories of the certificates, each with its time of change.

    As long as this stays the same, so do `trusted_certificates`.
    """
    return tuple((str(path), _changed_ns(path)) for path in _paths())


def trusted_certificates() -> list[bytes]:
    """Read all certificates that may vouch for a server, as DER, each once; takes 10 ms."""
    found: dict[bytes, None] = {}
    for path in _paths():
        files = [path]
        if path.is_dir():
            files = [each for each in sorted(path.iterdir()) if _HASHED.fullmatch(each.name)]
        for file in files:
            found.update(dict.fromkeys(_certificates(file)))
    if sys.platform == "win32":
        for store in ("CA", "ROOT"):
            for der, encoding, purposes in ssl.enum_certificates(store):
                if encoding == "x509_asn" and (purposes is True or _SERVER_AUTH in purposes):
                    found[der] = None
    return list(found)


def _paths() -> list[Path]:
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    system = ssl.get_default_verify_paths()
    named = [file or directory or certifi.where(), system.cafile, system.capath]
    return [Path(path) for path in dict.fromkeys(named) if path]


def _certificates(path: Path) -> list[bytes]:
    try:
        text = path.read_bytes()
    except OSError:  # OpenSSL leaves it out, or says so itself
        return []
    ders = []
    for match in _PEM.finditer(text):
        try:
            ders.append(base64.b64decode(match[1], validate=False))
        except binascii.Error:
            continue
    return ders


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
