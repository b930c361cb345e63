"""The seam to the outside with real TLS: the host's name is sent and checked, one set of roots."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from krakked._errors import ConfigError, ConnectFailedError
from krakked._network.network import SystemNetwork, tls_context


@asynccontextmanager
async def serve(certificate: Path, names: list[str | None]) -> AsyncIterator[int]:
    """Answer every connection with a small HTTP reply; note the names that were sent."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(4096)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(
            0, context, host="127.0.0.1", https_compatible=True
        )
        await nursery.start(trio.serve_listeners, answer, listeners)
        yield listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
        nursery.cancel_scope.cancel()


async def test_both_ways_out_send_the_name_and_trust_the_same(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names: list[str | None] = []
    async with serve(certificate, names) as port:
        stream = await SystemNetwork().open_stream("localhost", port, tls=True)
        await stream.send_all(b"GET")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await trio.aclose_forcefully(stream)
        async with httpx.AsyncClient(transport=SystemNetwork().http_transport()) as client:
            assert (await client.get(f"https://localhost:{port}/")).text == "ok"
    assert names == ["localhost", "localhost"]


async def test_an_unknown_certificate_is_refused_by_both_and_named(certificate: Path) -> None:
    async with serve(certificate, []) as port:
        with pytest.raises(ConnectFailedError, match=r"self[- ]signed certificate"):
            await SystemNetwork().open_stream("localhost", port, tls=True)
        async with httpx.AsyncClient(transport=SystemNetwork().http_transport()) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"https://localhost:{port}/")


async def test_a_certificate_of_another_host_is_refused(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with serve(certificate, []) as port:
        with pytest.raises(ConnectFailedError, match=r"127\.0\.0\.1"):
            await SystemNetwork().open_stream("127.0.0.1", port, tls=True)


def test_a_python_without_a_store_of_its_own_trusts_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)
    assert tls_context().cert_store_stats()["x509_ca"] > 50


async def test_secrets_of_tls_sessions_are_written_down_only_when_asked(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forgotten SSLKEYLOGFILE would open every recorded connection, with its API keys."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    by_variable, asked = tmp_path / "by variable", tmp_path / "asked"

    def secrets_in(path: Path) -> int:
        return path.read_text().count("SECRET") if path.exists() else 0

    async with serve(certificate, []) as port:
        monkeypatch.setenv("SSLKEYLOGFILE", str(by_variable))
        for make, found in (
            (SystemNetwork, False),
            (partial(SystemNetwork, tls_key_log=asked), True),
        ):
            network = make()
            stream = await network.open_stream("localhost", port, tls=True)
            await trio.aclose_forcefully(stream)
            after_stream = secrets_in(asked)
            async with httpx.AsyncClient(transport=network.http_transport()) as client:
                assert (await client.get(f"https://localhost:{port}/")).text == "ok"
            assert secrets_in(by_variable) == 0
            assert (after_stream > 0) is found
            assert (secrets_in(asked) > after_stream) is found


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_names_no_certificates_is_named_with_its_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for either in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(either, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=f"^{name} names .*gone, which cannot be used") as caught:
        SystemNetwork().http_transport()
    assert (caught.value.key, caught.value.path) == (name, str(tmp_path / "gone"))


def test_a_file_without_certificates_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "x.pem"))
    with pytest.raises(ConfigError, match="no certificates"):
        tls_context()


async def test_the_keys_of_a_connection_are_written_nowhere(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with serve(certificate, []) as port:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        stream = await SystemNetwork().open_stream("localhost", port, tls=True)
        await trio.aclose_forcefully(stream)
    assert not (tmp_path / "keys").exists()


def test_certificates_and_names_are_checked() -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
