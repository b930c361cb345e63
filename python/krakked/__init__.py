"""krakked: Kraken for trio programs."""
