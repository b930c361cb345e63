"""What people get wrong on the command line and in files, and what they are told: reviewed, kept.

`wrong_input.txt` has every case with its status and its words. After a change of words look at what
this writes, and keep it: ``KRAKKED_NEW_WORDS=1 python -m pytest tests/cli/test_wrong_input.py``.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from krakked._cli.main import main

WORDS = Path(__file__).with_name("wrong_input.txt")

COMMANDS = """
nope
--nope
store --nope
vault --nope status
-x
watch
watch XBTUSD --seconds x
watch XBTUSD --seconds -1
watch XBTUSD --seconds nan
watch XBTUSD --seconds inf
watch XBTUSD --timeframe 2m
watch XBTUSD --lines=5
ohlc
ohlc XBTUSD 2m
ohlc XBTUSD 1H
ohlc XBTUSD 1h --count 0
ohlc XBTUSD 1h --count -5
ohlc XBTUSD 1h --count 1.5
ohlc XBTUSD 1h --count many
ohlc XBTUSD 1h extra
ohlc XBTUSD --json --csv
backfill --timeframe 2m
backfill --since x
backfill --since -1
backfill --since 2024-13-01
backfill --since 1e20
backfill --since ''
import
import nowhere.zip
import wrong.zip
import .
import nowhere --now x
export
export XBTUSD
export XBTUSD 5x
export XBTUSD 1w
export XBTUSD 5M
export XBTUSD 1h
export XBTUSD 1h --format xlsx
export XBTUSD 1h --since x
store
store nope
store check --timeframe 2m
store check --pair
store repair --offlined
store snapshot
store snapshot .
store convert
store convert .
store convert new --backend sql
store delete
store delete NOPE
import . --workers 0
import . --workers two
auth
auth test --password-fd x
auth test
vault validate
vault validate --nope
vault status --profile Alice
auth test --profile nobody
setup --key-file nowhere
setup --key-fd 99 --secret-fd 98
setup --key-file wrong.zip
setup --key-file a --key-fd 3
backfill --archive
status --wait x
status --wait -1
status --wait inf
record
record there.txt --pairs
record .
sandbox --seed x
sandbox --seed -1
sandbox --seed 1.5
sandbox --rest-port 70000
sandbox --rest-port x
sandbox --ws-port -1
sandbox --speed 0
sandbox --speed x
sandbox --replay nowhere.ndjson
sandbox --replay there.txt
sandbox --replay .
vault
vault nope
vault status extra
vault passwd --new-password-fd x
vault passwd --new-password-fd -1
vault passwd --cost huge
config
config nope
config show extra
config edit
universe nope
universe --why
setup nope
demo --seconds x
demo --seed x
doctor extra
--debug=yes config path
"""

CONFIGS = {
    "a tab": "rest:\n\ttimeout_s: 3\n",
    "no colon": "rest\n  timeout_s: 3\n",
    "two colons": "rest: timeout_s: 3\n",
    "an open quote": 'rest: {base_url: "https://x\n',
    "a list at the top": "- rest\n",
    "a text at the top": "rest\n",
    "two documents": "rest: {}\n---\nrest: {}\n",
    "an alias": "rest: &a {}\nuniverse: *a\n",
    "a tag": "rest: !!python/object:os.system {}\n",
    "a key twice": "rest: {timeout_s: 1, timeout_s: 2}\n",
    "a key that is none": "rests: {}\n",
    "a key of another block": "rest: {timeframes: [1m]}\n",
    "a key spelled almost right": "market_data: {ws: {timeframe: [1m]}}\n",
    "a secret": "api_key: abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd\n",
    "a text for a number": "rest: {timeout_s: soon}\n",
    "a number in quotes": "rest: {timeout_s: '3'}\n",
    "nothing left to wait": "rest: {timeout_s: 0}\n",
    "infinity": "rest: {timeout_s: .inf}\n",
    "not a number": "rest: {timeout_s: .nan}\n",
    "a truth for a number": "rest: {timeout_s: true}\n",
    "a list for a number": "rest: {timeout_s: [1]}\n",
    "a block for a number": "rest: {timeout_s: {a: 1}}\n",
    "yes for true": "capabilities: {supports_margin: yes}\n",
    "a number for a text": "region: 5\n",
    "plain http": "rest: {base_url: http://api.kraken.com}\n",
    "a path in the address": "rest: {base_url: https://api.kraken.com/0}\n",
    "no address": "rest: {base_url: kraken}\n",
    "ws for wss": "market_data: {ws: {url: ws://ws.kraken.com/v2}}\n",
    "a timeframe that is none": "market_data: {ws: {timeframes: [2m]}}\n",
    "a timeframe twice": "market_data: {ws: {timeframes: [1m, 1m]}}\n",
    "one timeframe, no list": "market_data: {ws: {timeframes: 1m}}\n",
    "a backend that is none": "market_data: {ohlc_store: {backend: sqlite}}\n",
    "an address for a directory": "market_data: {ohlc_store: {root_dir: s3://bucket}}\n",
    "an empty directory": "market_data: {ohlc_store: {root_dir: ' '}}\n",
    "a pair with a blank": "universe: {include_pairs: ['BTC USD']}\n",
    "a country that is none": "universe: {country_code: California}\n",
    "a choice that is none": "universe: {margin_eligible: maybe}\n",
    "less than nothing": "universe: {min_24h_volume_usd: -1}\n",
    "a proxy that is none": "network: {proxy: 'ftp://host'}\n",
    "a proxy's port": "network: {proxy: 'http://host:99999'}\n",
    "capabilities twice": "region: {capabilities: {}}\ncapabilities: {}\n",
    "another reader": "market_data: {ws: {reader: fast}}\n",
    "no UTF-8": "\udcff: 1\n",
    "a NUL": "rest: \x00\n",
}


def cases() -> dict[str, list[str]]:
    lines = [line for line in COMMANDS.splitlines() if line]
    return {line: shlex.split(line) for line in lines}


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command in this process; give its status and what it said, on one line."""
    try:
        status = main(words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    said = [line for line in (err or out).splitlines() if line.strip()]
    usage = [line for line in said if "error: " in line]  # argparse prints how it is used before
    text = " ".join((usage or said)[:3])
    # Pythons differ in whether argparse quotes the choices.
    return status, re.sub(r"\(choose from [^)]*\)", lambda it: it[0].replace("'", ""), text)


def test_every_wrong_input_ends_in_a_sentence_that_was_looked_at(
    own_config_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("VISUAL", "EDITOR", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    (here / "there.txt").write_text("mine\n", "utf-8")
    (here / "wrong.zip").write_bytes(b"PK\x03\x04 and no more")
    config = own_config_dir / "config.yaml"
    store = f"market_data: {{ohlc_store: {{root_dir: {tmp_path / 'store'}}}}}\n"
    lines = []
    config.write_text(store, "utf-8")
    for line, words in cases().items():
        status, said = told(words, capsys)
        assert status != 0, line
        assert said, line
        lines.append(f"{line}\n  {status}: {said}")
    for name, text in CONFIGS.items():
        config.write_bytes(text.encode("utf-8", "surrogateescape"))
        status, said = told(["config", "show"], capsys)
        assert status == 1, name
        lines.append(f"config.yaml with {name}\n  {status}: {said}")
    shown = "\n".join(lines) + "\n"
    for path, word in ((own_config_dir, "CONFIG"), (here, "HERE"), (tmp_path, "DIR")):
        shown = shown.replace(str(path), word)
    assert len(lines) >= 100
    if os.environ.get("KRAKKED_NEW_WORDS"):
        WORDS.write_text(shown, "utf-8")
    assert shown == WORDS.read_text("utf-8")
