"""What addresses of servers and proxies may look like; which mean this machine."""

from __future__ import annotations

import secrets

import pytest

from krakked._errors import ConfigError
from krakked._network.addresses import (
    check_url,
    is_local_name,
    is_loopback,
)
from krakked._network.proxies import check_proxy, parse_proxy


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://api.kraken.com", True),
        ("https://example.com:8443/", True),
        ("http://127.0.0.1:8080", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:80", True),
        ("http://localhost", True),
        ("http://x.localhost:1", True),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
        ("http://example.com", False),
        ("http://10.0.0.1", False),
        ("http://LOCALHOST", True),
        ("http://[::ffff:127.0.0.1]", True),
        ("http://[::ffff:8.8.8.8]", False),
        ("http://notlocalhost", False),
        ("https://example.com.", False),
        ("https://example.com/?", False),
        ("https://exam ple.com", False),
        ("https://example.com\t", False),
        ("https://user@example.com", False),
        ("https://example.com/0/public", False),
        ("https://example.com?x=1", False),
        ("https://example.com#x", False),
        ("wss://example.com", False),
        ("https://", False),
        ("https://example.com:99999", False),
        ("https://example.com:0", False),
        ("example.com", False),
        ("ftp://example.com", False),
        ("http://[::1", False),
    ],
)
def test_addresses_must_be_encrypted_unless_they_are_this_machine(url: str, fine: bool) -> None:
    assert (check_url(url, secure="https", plain="http", path_allowed=False) is None) is fine


def test_stream_addresses_may_have_a_path() -> None:
    assert check_url("wss://h/v2", secure="wss", plain="ws", path_allowed=True) is None
    assert check_url("ws://localhost:1/v2", secure="wss", plain="ws", path_allowed=True) is None
    assert check_url("ws://h/v2", secure="wss", plain="ws", path_allowed=True) is not None


@pytest.mark.parametrize(
    ("host", "here", "local_name"),
    [
        ("localhost", True, True),
        ("LocalHost", True, True),
        ("a.b.localhost", True, True),
        ("127.0.0.1", True, False),
        ("127.255.0.9", True, False),
        ("::1", True, False),
        ("::ffff:127.0.0.1", True, False),
        ("128.0.0.1", False, False),
        ("::2", False, False),
        ("localhost.com", False, False),
        ("", False, False),
    ],
)
def test_one_rule_says_which_hosts_are_this_machine(
    host: str, here: bool, local_name: bool
) -> None:
    assert is_loopback(host) is here
    assert is_local_name(host) is local_name


@pytest.mark.parametrize(
    ("value", "shown", "user", "password"),
    [
        ("http://h:3128", "http://h:3128", b"", b""),
        ("http://h", "http://h:80", b"", b""),
        ("https://h/", "https://h:443", b"", b""),
        ("h:8080", "http://h:8080", b"", b""),
        ("user:pw@h:8080", "http://h:8080", b"user", b"pw"),
        (" HTTP://H:1 ", "http://h:1", b"", b""),
        ("socks5://h", "socks5://h:1080", b"", b""),
        ("socks5h://h:9", "socks5://h:9", b"", b""),
        ("socks://h:9", "socks5://h:9", b"", b""),
        ("http://[::1]:3128", "http://[::1]:3128", b"", b""),
        ("http://u%40x:p%3A%2F@h", "http://h:80", b"u@x", b"p:/"),
        ("http://%C3%BC:%FF@h", "http://h:80", "\u00fc".encode(), b"\xff"),
        (f"http://{'u' * 255}:{'p' * 255}@h", "http://h:80", b"u" * 255, b"p" * 255),
    ],
)
def test_a_proxy_is_read_and_shown_without_user_and_password(
    value: str, shown: str, user: bytes, password: bytes
) -> None:
    proxy = parse_proxy(value, key="network.proxy")
    assert (str(proxy), proxy.user, proxy.password) == (shown, user, password)
    assert repr(proxy) == f"Proxy({shown})"
    assert check_proxy(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "http://",
        "ftp://h",
        "socks4://h:1080",
        "http://h:0",
        "http://h:99999",
        "http://h/path",
        "http://h?x",
        "http://h#x",
        "http://h h",
        "http://[::1",
        f"http://{'u' * 256}:p@h",
        f"http://u:{'p' * 256}@h",
    ],
)
def test_what_is_no_proxy_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^ALL_PROXY: expected a proxy such as http") as caught:
        parse_proxy(value, key="ALL_PROXY")
    assert caught.value.key == "ALL_PROXY"
    assert check_proxy(value) is not None


def test_a_broken_proxy_address_is_never_quoted() -> None:
    password = secrets.token_hex(6)
    with pytest.raises(ConfigError) as caught:
        parse_proxy(f"ftp://user:{password}@h", key="HTTPS_PROXY")
    assert password not in str(caught.value)
    assert "user:" not in str(caught.value).replace("with user:password@", "")


def test_direct_is_a_setting_and_no_proxy() -> None:
    assert check_proxy("direct") is None
