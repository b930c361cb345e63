"""Market data: the universe, closed candles on disk, the live stream and its health."""
