"""The candle store: files, locks, coverage and journal. The only room that knows pyarrow."""
