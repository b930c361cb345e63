"""Objects that programs pass in, refused in our own words when they cannot be what they are for."""

from __future__ import annotations

from krakked._errors import ConfigError


def require_kind(value: object, name: str, kind: type) -> None:
    """Refuse an object that is no instance of a class.

    Raises:
        ConfigError: It is none; `key` names the argument.
    """
    if not isinstance(value, kind):
        raise ConfigError(
            f"{name} is {_shown(value)}; wanted: a krakked.{kind.__name__}.", key=name
        )


def require_able(value: object, name: str, protocol: type) -> None:
    """Refuse an object that lacks something of a protocol.

    Raises:
        ConfigError: It does; `key` names the argument.
    """
    wanted = [each for each in vars(protocol) if not each.startswith("_")]
    missing = [each for each in wanted if not hasattr(value, each)]
    if isinstance(value, type) or missing:
        lacks = f" (it has no {', '.join(missing)})" if missing else ""
        raise ConfigError(
            f"{name} is {_shown(value)}; wanted: an object with everything of "
            f"krakked.{protocol.__name__}{lacks}.",
            key=name,
        )


def _shown(value: object) -> str:
    """Name an object by its class: a key given in the wrong place must not be printed."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"of the type {type(value).__name__}"
