"""Proxies: one decision and one tunnel for REST and the stream; errors name the proxy alone."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from tests.local_proxy import LocalProxy, open_proxy

import krakked
from krakked._config.loader import load_config
from krakked._errors import ConfigError, ConnectFailedError
from krakked._network.clock import SystemClock
from krakked._network.network import SystemNetwork, choose_proxy
from krakked._rest import http as rest_http
from krakked._rest.client import RestClient
from krakked._sandbox.exchange import Exchange
from krakked.sandbox import SandboxSettings, open_sandbox

pytestmark = pytest.mark.slow


REST_HOST, STREAM_HOST = ("api.kraken.localhost", 1), ("ws.kraken.localhost", 2)
"""Names and ports behind which nothing listens but what the proxy knows."""


# --- the decision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "variables", "host", "tls", "chosen"),
    [
        (None, {}, "h", True, None),
        (None, {"HTTPS_PROXY": "http://p:1"}, "h", True, "http://p:1 from HTTPS_PROXY"),
        (None, {"https_proxy": "http://p:1"}, "h", True, "http://p:1 from HTTPS_PROXY"),
        (None, {"HTTPS_PROXY": "http://p:1"}, "h", False, None),
        (None, {"HTTP_PROXY": "p:1"}, "h", False, "http://p:1 from HTTP_PROXY"),
        (None, {"HTTP_PROXY": "p:1"}, "h", True, None),
        (None, {"ALL_PROXY": "socks5://p"}, "h", True, "socks5://p:1080 from ALL_PROXY"),
        (None, {"ALL_PROXY": "socks5h://p"}, "h", False, "socks5://p:1080 from ALL_PROXY"),
        (
            None,
            {"ALL_PROXY": "a:1", "HTTPS_PROXY": "b:2"},
            "h",
            True,
            "http://b:2 from HTTPS_PROXY",
        ),
        (None, {"SOCKS_PROXY": "http://p:9"}, "h", True, "socks5://p:9 from SOCKS_PROXY"),
        (None, {"HTTPS_PROXY": "p:1", "NO_PROXY": "h"}, "h", True, None),
        (None, {"HTTPS_PROXY": "p:1", "NO_PROXY": "x,.example.org"}, "a.example.org", True, None),
        (None, {"HTTPS_PROXY": "p:1", "NO_PROXY": "h:443"}, "h", True, None),
        (
            None,
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "h:444"},
            "h",
            True,
            "http://p:1 from HTTPS_PROXY",
        ),
        (None, {"HTTPS_PROXY": "p:1", "NO_PROXY": "::1"}, "::1", True, None),
        (None, {"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, "h", True, None),
        (
            None,
            {"HTTPS_PROXY": "p:1", "NO_PROXY": "other"},
            "h",
            True,
            "http://p:1 from HTTPS_PROXY",
        ),
        ("http://q:2", {}, "h", True, "http://q:2 from network.proxy"),
        ("http://q:2", {}, "127.0.0.1", False, "http://q:2 from network.proxy"),
        ("http://q:2", {"HTTPS_PROXY": "p:1"}, "h", True, "http://q:2 from network.proxy"),
        ("http://q:2", {"NO_PROXY": "h"}, "h", True, None),
        ("direct", {"HTTPS_PROXY": "p:1", "ALL_PROXY": "p:1"}, "h", True, None),
    ],
)
def test_the_setting_comes_first_then_the_variables_and_no_proxy_always_holds(
    setting: str | None,
    variables: dict[str, str],
    host: str,
    tls: bool,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = choose_proxy(setting, host, 443, tls=tls)
    assert (None if proxy is None else f"{proxy} from {proxy.source}") == chosen


def test_a_broken_variable_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://user:hush@p")
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: expected a proxy") as caught:
        choose_proxy(None, "h", 443, tls=True)
    assert "hush" not in str(caught.value)


# --- both ways out, through both kinds of proxy --------------------------------------------------


@asynccontextmanager
async def market(scheme: str) -> AsyncIterator[tuple[Exchange, LocalProxy]]:
    """A sandbox on loopback that only the proxy can find under its names."""
    settings = SandboxSettings(pair_count=40, public_burst=100)
    async with open_sandbox(settings=settings) as exchange, open_proxy(scheme) as proxy:
        proxy.names = {
            REST_HOST: urlsplit(exchange.rest_url).port or 0,
            STREAM_HOST: urlsplit(exchange.ws_url).port or 0,
        }
        yield exchange, proxy


def config_for(directory: Path, proxy: str | None) -> krakked.KrakkedConfig:
    return krakked.KrakkedConfig(
        rest=krakked.RestSettings(
            base_url=f"http://{REST_HOST[0]}:{REST_HOST[1]}", public_calls_per_second=100
        ),
        universe=krakked.UniverseSettings(include_pairs=("XBTUSD",)),
        market_data=krakked.MarketDataSettings(
            ws=krakked.WebSocketSettings(
                url=f"ws://{STREAM_HOST[0]}:{STREAM_HOST[1]}/v2", timeframes=("1m",)
            ),
            ohlc_store=krakked.OHLCStoreSettings(root_dir=str(directory / "ohlc")),
        ),
        network=krakked.NetworkSettings(proxy=proxy),
        config_dir=str(directory),
    )


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("way", ["setting", "variable"])
async def test_rest_and_stream_go_through_the_proxy_which_resolves_the_names(
    scheme: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with market(scheme) as (_, proxy):
        proxy.login = (b"me", b"p@ss")
        address = proxy.url_with("me", "p%40ss")
        if way == "variable":
            monkeypatch.setenv("ALL_PROXY", address)
        config = config_for(tmp_path, address if way == "setting" else None)
        async with krakked.open_kraken(config, pairs=["XBTUSD"]) as kraken:
            await kraken.wait_live(timeout_s=20)
            assert float(kraken.get_latest_price("XBTUSD")) > 0
        assert set(proxy.asked) == {REST_HOST, STREAM_HOST}
        assert set(proxy.logins) == {(b"me", b"p@ss")}


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_no_proxy_is_kept_by_both(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with market(scheme) as (exchange, proxy):
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with RestClient(
            krakked.RestSettings(base_url=exchange.rest_url),
            network=SystemNetwork(),
            clock=SystemClock(),
        ) as rest:
            await rest.public("Time")
        stream = await SystemNetwork().open_stream(
            "127.0.0.1", urlsplit(exchange.ws_url).port or 0, tls=False
        )
        await trio.aclose_forcefully(stream)
        assert proxy.asked == []


async def test_addresses_travel_as_addresses(tmp_path: Path) -> None:
    for scheme in ("http", "socks5"):
        async with open_proxy(scheme) as proxy:
            for host in ("192.0.2.7", "2001:db8::7"):
                with pytest.raises(ConnectFailedError):
                    await SystemNetwork(proxy.url).open_stream(host, 65000, tls=False)
            assert proxy.asked == [("192.0.2.7", 65000), ("2001:db8::7", 65000)]


async def test_a_connect_says_what_it_must_and_no_more() -> None:
    async with open_proxy("http") as proxy:
        for address in (proxy.url, proxy.url_with("u", "")):
            with pytest.raises(ConnectFailedError):
                await SystemNetwork(address).open_stream("2001:db8::7", 443, tls=False)
    bare = b"CONNECT [2001:db8::7]:443 HTTP/1.1\r\nHost: [2001:db8::7]:443\r\n"
    assert proxy.heads == [bare + b"\r\n", bare + b"Proxy-Authorization: Basic dTo=\r\n\r\n"]


# --- TLS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_tls_is_shaken_with_the_exchange_and_with_an_https_proxy(
    scheme: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while await stream.receive_some(4096):
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_ssl_over_tcp_listeners(
            0, context, host="127.0.0.1", https_compatible=True
        )
        await nursery.start(trio.serve_listeners, answer, listeners)
        port = listeners[0].transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
        async with open_proxy(scheme, context if scheme == "https" else None) as proxy:
            proxy.names = {("localhost", 443): port, ("other.localhost", 443): port}
            network = SystemNetwork(proxy.url)
            stream = await network.open_stream("localhost", 443, tls=True)
            await stream.send_all(b"GET")
            assert (await stream.receive_some()).endswith(b"ok")
            await trio.aclose_forcefully(stream)
            async with httpx.AsyncClient(transport=network.http_transport()) as client:
                for _ in range(2):
                    assert (await client.get("https://localhost/")).text == "ok"
                with pytest.raises(httpx.ConnectError):  # the certificate is not its own
                    await client.get("https://other.localhost/")
            with pytest.raises(ConnectFailedError, match=r"with other\.localhost:443"):
                await network.open_stream("other.localhost", 443, tls=True)
        nursery.cancel_scope.cancel()


async def test_an_https_proxy_that_nobody_vouches_for_is_not_used(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with open_proxy("https", context) as proxy:
        with pytest.raises(
            ConnectFailedError, match=r"the proxy https://localhost.*self"
        ) as caught:
            await SystemNetwork(proxy.url_with("me", "hush")).open_stream("h", 443, tls=True)
        assert proxy.asked == []
        assert "hush" not in str(caught.value)


# --- proxies that give nothing -------------------------------------------------------------------

HTTP_ANSWERS = [
    (b"HTTP/1.1 407 Auth\r\n\r\n", "wants user and password", False),
    (b"HTTP/1.0 403 Forbidden\r\n\r\n", "refused with HTTP 403", False),
    (b"HTTP/1.1 405\r\n\r\n", "refused with HTTP 405", False),
    (b"HTTP/1.1 408 Late\r\n\r\n", "refused with HTTP 408", True),
    (b"HTTP/1.1 429 Slow\r\n\r\n", "refused with HTTP 429", True),
    (b"HTTP/1.1 302 Go\r\nLocation: http://x/\r\n\r\n", "refused with HTTP 302", False),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused with HTTP 502", True),
    (b"HTTP/1.1 500\n\n", "refused with HTTP 500", True),
    (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 503 No\r\n\r\n", "refused with HTTP 503", True),
    (b"SSH-2.0-OpenSSH\r\n\r\n", "is no HTTP", False),
    (b"HTTP/2 200\r\n\r\n", "is no HTTP", False),
    (b"HTTP/1.1 2000 OK\r\n\r\n", "is no HTTP", False),
    (b"x" * 8193, "far too long", False),
    (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1500, "far too long", False),
]
SOCKS_ANSWERS = [
    (b"\x05\x01\x00\x01" + bytes(6), "reports a general failure", True),
    (b"\x05\x02", "its rules do not allow the connection", False),
    (b"\x05\x03", "cannot reach the network", True),
    (b"\x05\x04", "cannot reach or resolve the host", True),
    (b"\x05\x05", "the host refused it", True),
    (b"\x05\x06", "ran out of time", True),
    (b"\x05\x07", "knows no CONNECT", False),
    (b"\x05\x08", "knows no such kind of address", False),
    (b"\x05\x09", "refused with code 9", False),
    (b"\x04\x00\x00\x01" + bytes(6), "is no SOCKS5", False),
    (b"HTTP/1.1 400", "is no SOCKS5", False),
    (b"\x05\x00\x00\x02" + bytes(6), "is no SOCKS5", False),
]


@pytest.mark.parametrize(("scheme", "answers"), [("http", HTTP_ANSWERS), ("socks5", SOCKS_ANSWERS)])
async def test_every_odd_answer_is_one_error_that_names_the_proxy(
    scheme: str, answers: list[tuple[bytes, str, bool]]
) -> None:
    async with open_proxy(scheme) as proxy:
        for says, told, retryable in answers:
            proxy.says = says
            with trio.fail_after(5), pytest.raises(ConnectFailedError) as caught:
                await SystemNetwork(proxy.url).open_stream("h.example", 443, tls=True)
            text = str(caught.value)
            assert f"h.example through the proxy {proxy.url} (from network.proxy): " in text
            assert told in text
            assert (caught.value.retryable, caught.value.endpoint) == (retryable, "h.example")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("fault", ["login", "no login", "closes", "hangs", "gone", "unresolved"])
async def test_a_proxy_that_gives_nothing_is_named_by_rest_and_stream_without_its_password(
    scheme: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("krakked._network.network.PROXY_S", 0.2)
    password = secrets.token_hex(8)
    async with open_proxy(scheme) as proxy:
        address = proxy.url_with("somebody", password)
        match fault:
            case "login":
                proxy.login = (b"somebody", b"else")
                told, retryable = "it does not accept user and password", False
            case "no login":
                proxy.login, address = (b"somebody", b"else"), proxy.url
                told, retryable = "it wants user and password", False
            case "closes":
                proxy.closes = True
                told, retryable = "it closed the connection", True
            case "hangs":
                proxy.hangs = True
                told, retryable = "no answer within 0.2 s", True
            case "gone":
                proxy.port, address = 1, f"{scheme}://somebody:{password}@127.0.0.1:1"
                told, retryable = "it cannot be reached", True
            case _:
                told, retryable = ("HTTP 502" if scheme == "http" else "resolve the host"), True
        network = SystemNetwork(address)
        errors: list[ConnectFailedError] = []
        with trio.fail_after(10), pytest.raises(ConnectFailedError) as caught:
            await network.open_stream("h.localhost", 1, tls=False)
        errors.append(caught.value)
        async with rest_http.HttpExchange("http://h.localhost:1", network, 5.0) as rest:
            with trio.fail_after(10):
                answer = await rest.get("/0/public/Time", "Time")
        assert isinstance(answer, rest_http.Failed)
        assert not answer.sent
        assert isinstance(answer.error, ConnectFailedError)
        errors.append(answer.error)
    for error in errors:
        assert f"through the proxy {proxy.url} (from network.proxy): " in str(error)
        assert told in str(error)
        assert error.retryable is retryable
        assert password not in str(error)
        assert "somebody" not in str(error)


async def test_a_hanging_proxy_is_named_even_when_the_call_is_short_of_time() -> None:
    async with open_proxy("http") as proxy:
        proxy.hangs = True
        network = SystemNetwork(proxy.url)
        async with rest_http.HttpExchange("http://h.localhost:1", network, 0.5) as rest:
            answer = await rest.get("/0/public/Time", "Time")
    assert isinstance(answer, rest_http.Failed)
    assert f"the proxy {proxy.url} " in str(answer.error)
    assert "no answer within 0.4 s" in str(answer.error)


async def test_a_broken_variable_stops_a_call_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://u:hush@h")
    with pytest.raises(ConnectFailedError, match=r"^HTTP_PROXY: expected a proxy") as caught:
        await SystemNetwork().open_stream("localhost", 1, tls=False)
    assert (caught.value.retryable, "hush" in str(caught.value)) == (False, False)


def test_a_wrong_setting_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"network\.proxy"):
        SystemNetwork("ftp://h")
    (tmp_path / "config.yaml").write_text("network: {proxy: socks5://127.0.0.1:9}\n")
    assert SystemNetwork(load_config(tmp_path).network.proxy) is not None


async def test_names_of_this_machine_are_never_looked_up() -> None:
    async def accept(stream: trio.SocketStream) -> None:
        await stream.send_all(b"here")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, accept, listeners)
        port = listeners[0].socket.getsockname()[1]
        stream = await SystemNetwork().open_stream("no.such.name.localhost", port, tls=False)
        assert await stream.receive_some(4) == b"here"
        await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def test_a_name_that_cannot_be_one_is_a_typed_error() -> None:
    with pytest.raises(ConnectFailedError, match="no valid host name"):
        await SystemNetwork().open_stream("x" * 64 + ".example", 1, tls=False)
