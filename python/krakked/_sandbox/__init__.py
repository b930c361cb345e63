"""A local Kraken: a program of its own that shares no code with the other rooms."""
