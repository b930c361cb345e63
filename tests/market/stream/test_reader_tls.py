"""TLS in the reader: the same trust as REST's, and OpenSSL asked where rustls refuses."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from pathlib import Path

import pytest
import trio
from tests.local_proxy import open_proxy
from tests.market.stream.hostile import frame, unmask
from tests.market.stream.sockets import (
    HEAD,
    Authority,
    descriptors,
    open_reading,
    readers,
    relaying,
    server_context,
    serving,
    ticker,
    until,
)

import krakked
from krakked._core import FrameTap, MarketCache, TlsTrust
from krakked._errors import ConnectFailedError
from krakked._market.stream.opening import MarketStream, StreamOpener
from krakked._market.stream.reader import ReaderStream
from krakked._market.stream.tap import TapStream
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork
from krakked._network.trust import trusted_certificates
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are read in Python there")

PATIENCE_S = 60.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    return authority


async def answer(stream: trio.abc.Stream) -> None:
    await stream.send_all(HEAD + ticker("A/USD"))
    await stream.receive_some(1)


async def open_by(opener: StreamOpener, host: str, port: int) -> tuple[MarketStream, MarketCache]:
    cache = MarketCache()
    stream = await opener.open(
        host,
        port,
        tls=True,
        tap=FrameTap(cache),
        recording=False,
        on_frames=lambda: None,
        on_end=lambda: None,
    )
    return stream, cache


def opener() -> StreamOpener:
    return StreamOpener(SystemNetwork(), SystemClock())


async def who_reads(port: int, host: str = "localhost") -> type[object]:
    """Connect, see data come, and give the kind of stream."""
    with trio.fail_after(PATIENCE_S):
        stream, cache = await open_by(opener(), host, port)
        assert await stream.receive_some() == HEAD
        if isinstance(stream, ReaderStream):
            await until(lambda: cache.ticker("A/USD"))
        await stream.aclose()
    return type(stream)


@pytest.mark.slow
async def test_open_kraken_reads_tls_in_rust(trusted: Authority, tmp_path: Path) -> None:
    settings = SandboxSettings(pair_count=10, activity=1.0, quote_activity=1.0)
    context = server_context(trusted.leaf("localhost"))
    async with open_sandbox(seed=3, settings=settings) as exchange:
        config = exchange.config(tmp_path / "here")
        plain_port = int(config.market_data.ws.url.split(":")[2].split("/")[0])
        async with relaying(plain_port, context) as port:
            stream = krakked.WebSocketSettings(
                url=f"wss://localhost:{port}/v2", timeframes=("1m", "5m")
            )
            config = krakked.KrakkedConfig(
                rest=config.rest,
                market_data=krakked.MarketDataSettings(
                    ws=stream, ohlc_store=config.market_data.ohlc_store
                ),
                state_dir=config.state_dir,
                exchange=config.exchange,
            )
            with trio.fail_after(PATIENCE_S):
                async with krakked.open_kraken(config, pairs=["XBTUSD"]) as kraken:
                    await kraken.wait_live(timeout_s=PATIENCE_S)
                    assert readers() == 2
                    assert kraken.get_latest_price("XBTUSD").price > 0
                    async for _ in kraken.changes("XBTUSD"):
                        break
            assert readers() == 0


# --- whom it trusts -------------------------------------------------------------------------------


async def test_a_file_of_authorities_is_trusted(trusted: Authority) -> None:
    async with serving(answer, server_context(trusted.leaf("localhost"))) as port:
        assert await who_reads(port) is ReaderStream


async def test_a_directory_of_authorities_is_trusted(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "authorities"
    directory.mkdir()
    (directory / "0123abcd.0").write_bytes(authority.path.read_bytes())
    (directory / "README").write_bytes(b"no certificate")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    async with serving(answer, server_context(authority.leaf("localhost"))) as port:
        assert await who_reads(port) is ReaderStream


async def test_an_address_is_a_name_like_any_other(trusted: Authority) -> None:
    async with serving(answer, server_context(trusted.leaf("127.0.0.1"))) as port:
        assert await who_reads(port, "127.0.0.1") is ReaderStream


@pytest.mark.parametrize(
    ("hosts", "days", "asked", "said"),
    [
        (("elsewhere.example",), (-1, 1), "localhost", "Hostname mismatch|hostname"),
        (("localhost",), (-1, 1), "127.0.0.1", r"IP address mismatch|127\.0\.0\.1"),
        (("localhost",), (-2, -1), "localhost", "expired"),
        (("localhost",), (1, 2), "localhost", "not yet valid"),
        (("localhost",), (-1, 1), "localhost.", "mismatch|localhost"),
    ],
    ids=["wrong host", "wrong address", "expired", "not yet valid", "trailing dot"],
)
async def test_what_rest_refuses_is_refused_in_its_words(
    trusted: Authority,
    hosts: tuple[str, ...],
    days: tuple[float, float],
    asked: str,
    said: str,
) -> None:
    leaf = trusted.leaf(*hosts, from_days=days[0], to_days=days[1])
    threads, before = readers(), descriptors()
    async with serving(answer, server_context(leaf)) as port:
        with trio.fail_after(PATIENCE_S), pytest.raises(ConnectFailedError, match=said):
            await open_by(opener(), asked, port)
    assert readers() == threads
    with trio.fail_after(PATIENCE_S):
        await until(lambda: descriptors() <= before)


async def test_an_unknown_authority_is_refused(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    async with serving(answer, server_context(authority.leaf("localhost"))) as port:
        with trio.fail_after(PATIENCE_S), pytest.raises(ConnectFailedError, match="certificate"):
            await open_by(opener(), "localhost", port)


async def test_a_self_signed_server_is_refused_unless_it_is_trusted_itself(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rustls takes no authority for a server; OpenSSL does, and REST would."""
    async with serving(answer, server_context(certificate)) as port:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with trio.fail_after(PATIENCE_S), pytest.raises(ConnectFailedError, match=r"self.signed"):
            await open_by(opener(), "localhost", port)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await who_reads(port) is TapStream


async def test_a_server_without_modern_ciphers_is_read_in_python_and_that_is_said_once(
    trusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    context = server_context(trusted.leaf("localhost"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
    async with serving(answer, context) as port:
        chosen = opener()
        with trio.fail_after(PATIENCE_S), caplog.at_level(logging.WARNING, "krakked.stream"):
            for _ in range(3):
                stream, _ = await open_by(chosen, "localhost", port)
                assert type(stream) is TapStream
                assert await stream.receive_some() == HEAD
                await stream.aclose()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "rustls refuses what OpenSSL takes" in caplog.text


async def test_where_openssl_takes_over_pings_are_trio_websocket_s_affair(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    wanted, got = HEAD + frame(b"are you there", 9), b""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(wanted)
        await stream.receive_some(1)

    async with serving(script, server_context(certificate)) as port:
        with trio.fail_after(PATIENCE_S):
            stream, _ = await open_by(opener(), "localhost", port)
            while len(got) < len(wanted):
                got += await stream.receive_some()
            await stream.aclose()
    assert got == wanted


async def test_tls_1_2_with_modern_ciphers_is_read_in_rust(trusted: Authority) -> None:
    context = server_context(trusted.leaf("localhost"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(answer, context) as port:
        assert await who_reads(port) is ReaderStream


async def test_secrets_are_written_down_by_openssl_alone(
    trusted: Authority, tmp_path: Path
) -> None:
    network = SystemNetwork(tls_key_log=tmp_path / "keys")
    async with serving(answer, server_context(trusted.leaf("localhost"))) as port:
        with trio.fail_after(PATIENCE_S):
            stream, _ = await open_by(StreamOpener(network, SystemClock()), "localhost", port)
            await stream.aclose()
    assert type(stream) is TapStream
    assert "SECRET" in (tmp_path / "keys").read_text()


def test_the_same_certificates_as_openssl_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variables: certifi's and the system's, each once, none lost on the way."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    import certifi

    context.load_verify_locations(cafile=certifi.where())
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    listed = set(context.get_ca_certs(binary_form=True))
    found = trusted_certificates()
    assert listed <= set(found)
    assert len(found) == len(set(found))
    assert TlsTrust(found).roots >= len(listed) * 0.95
    assert TlsTrust([b"no certificate"]).roots == 0


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "kind"), [("http", ReaderStream), ("socks5", ReaderStream), ("https", TapStream)]
)
async def test_behind_a_proxy_the_tunnel_s_socket_is_read_unless_it_is_tls_itself(
    trusted: Authority, scheme: str, kind: type[object]
) -> None:
    context = server_context(trusted.leaf("localhost"))
    async with (
        serving(answer, context) as port,
        open_proxy(scheme, context if scheme == "https" else None) as proxy,
    ):
        proxy.names = {("localhost", 443): port}
        with trio.fail_after(PATIENCE_S):
            chosen = StreamOpener(SystemNetwork(proxy.url), SystemClock())
            stream, _ = await open_by(chosen, "localhost", 443)
            assert type(stream) is kind
            assert await stream.receive_some() == HEAD
            await stream.aclose()
        assert proxy.asked == [("localhost", 443)]


# --- what a session does --------------------------------------------------------------------------


async def test_a_stalled_handshake_can_be_given_up(authority: Authority) -> None:
    async def stalled(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    trust, threads = TlsTrust([authority.der]), readers()
    async with serving(stalled) as port:
        reading = await open_reading(port, trust=trust, host="localhost")
        with trio.move_on_after(0.05) as waiting:
            await reading.stream.wait_open()
        assert waiting.cancelled_caught
        await reading.stream.aclose()
        assert readers() == threads


async def test_no_tls_at_all_is_told(authority: Authority) -> None:
    async def page(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def nothing(stream: trio.abc.Stream) -> None:
        await stream.receive_some(4096)

    trust = TlsTrust([authority.der])
    for script, kind in ((page, "tls"), (nothing, "cut")):
        async with serving(script) as port:
            reading = await open_reading(port, trust=trust, host="localhost")
            with trio.fail_after(PATIENCE_S):
                assert await reading.stream.wait_open() is False
            assert reading.stream.end is not None
            assert reading.stream.end[0] == kind
            await reading.stream.aclose()


async def test_a_name_that_no_certificate_bears_is_no_host(authority: Authority) -> None:
    async with serving(answer) as port:
        with pytest.raises(ValueError, match="invalid dns name"):
            await open_reading(port, trust=TlsTrust([authority.der]), host="no host")


async def test_a_farewell_is_an_end_and_a_cut_is_none(authority: Authority) -> None:
    leaf, trust = authority.leaf("localhost"), TlsTrust([authority.der])
    polite = True

    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(HEAD + ticker("A/USD"))
        tcp = stream.transport_stream
        if polite:
            await stream.unwrap()
        await trio.aclose_forcefully(tcp)

    async with serving(script, server_context(leaf)) as port:
        for polite in (True, False):
            reading = await open_reading(port, trust=trust, host="localhost")
            with trio.fail_after(PATIENCE_S):
                assert await reading.stream.wait_open()
                assert await reading.stream.receive_some() == HEAD
                assert await reading.stream.receive_some() == b""
            wanted = ("eof", "eof") if polite else ("cut", "eof without close_notify")
            assert reading.stream.end == wanted
            assert reading.last("A/USD") == "1.50"
            await reading.stream.aclose()


async def test_garbage_inside_a_session_is_told(authority: Authority) -> None:
    trust = TlsTrust([authority.der])

    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(HEAD)
        await stream.receive_some(1)
        await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await trio.sleep_forever()

    async with serving(script, server_context(authority.leaf("localhost"))) as port:
        reading = await open_reading(port, trust=trust, host="localhost")
        with trio.fail_after(PATIENCE_S):
            assert await reading.stream.receive_some() == HEAD
            await reading.stream.send_all(b"x")
            with pytest.raises(trio.BrokenResourceError, match="tls: "):
                await reading.stream.receive_some()
        await reading.stream.aclose()


async def test_eight_megabytes_pass_in_both_directions_at_once(authority: Authority) -> None:
    data = os.urandom(1 << 16) * 128
    got = bytearray()

    async def script(stream: trio.abc.Stream) -> None:
        async def send() -> None:
            await stream.send_all(HEAD + frame(data, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(got) < len(data):
                got.extend(await stream.receive_some(65_536))

    async with serving(script, server_context(authority.leaf("localhost"))) as port:
        reading = await open_reading(port, trust=TlsTrust([authority.der]), host="localhost")
        reading.stream.upgraded = True
        back = bytearray()
        with trio.fail_after(PATIENCE_S):
            assert await reading.stream.wait_open()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reading.stream.send_all, data)
                while len(back) < len(HEAD) + len(frame(data, 2)):
                    back.extend(await reading.stream.receive_some())
            await until(lambda: len(got) == len(data))
        assert bytes(got) == data
        assert bytes(back) == HEAD + frame(data, 2)
        await reading.stream.aclose()


async def test_pings_are_answered_over_tls(authority: Authority) -> None:
    answered = b""

    async def script(stream: trio.abc.Stream) -> None:
        nonlocal answered
        await stream.send_all(HEAD + frame(b"are you there", 9))
        while len(answered) < 2 + 4 + 13:
            answered += await stream.receive_some(100)

    async with serving(script, server_context(authority.leaf("localhost"))) as port:
        reading = await open_reading(port, trust=TlsTrust([authority.der]), host="localhost")
        with trio.fail_after(PATIENCE_S):
            await until(lambda: len(answered) == 2 + 4 + 13)
        assert unmask(answered) == [b"are you there"]
        await reading.stream.aclose()


@pytest.mark.slow
async def test_hundreds_of_tls_connects_leave_nothing(authority: Authority) -> None:
    async def script(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.send_all(HEAD + ticker("A/USD")[:50])
        await trio.aclose_forcefully(stream.transport_stream)

    trust, threads, before = TlsTrust([authority.der]), readers(), descriptors()
    async with serving(script, server_context(authority.leaf("localhost"))) as port:
        with trio.fail_after(PATIENCE_S):
            for _ in range(500):
                reading = await open_reading(port, trust=trust, host="localhost")
                assert await reading.stream.wait_open()
                while await reading.stream.receive_some():
                    pass
                await reading.stream.aclose()
            assert readers() == threads
    with trio.fail_after(PATIENCE_S):
        await until(lambda: descriptors() <= before)
