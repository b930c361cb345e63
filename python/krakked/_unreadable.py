"""What a decoder raises on bytes that others wrote: files that were damaged, answers that are odd.

msgspec's own errors are not all: a text that is no UTF-8 raises a `UnicodeError` where a key or a
field is read, and arrays nested a thousand deep raise `RecursionError`.
"""

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""For an except clause or `contextlib.suppress` around every decoding."""
