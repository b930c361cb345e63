"""What several processes do with one file: kernel lock, durable replace, shared record. Blocking.

These raise plain `OSError` for what the operating system refuses; each room turns it into its own
error, with path and remedy, at its edge.
"""
