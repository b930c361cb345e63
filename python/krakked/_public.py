"""The mark of what users import from `krakked`: it shows itself under that name.

Every room with such names begins here, so this is also where the package is made silent until a
program asks for its log (`logging.NullHandler`, as the logging HOWTO wants of libraries).
"""

from __future__ import annotations

import logging
from typing import TypeVar

T = TypeVar("T")

logging.getLogger("krakked").addHandler(logging.NullHandler())


def public(thing: T) -> T:
    """Mark a class or function as part of the face, so that a traceback names it as users know it.

    A Struct so marked must not stand in a module whose annotations are texts (``from __future__
    import annotations``): msgspec looks such texts up in the module that the Struct names.
    """
    thing.__module__ = "krakked"
    return thing
