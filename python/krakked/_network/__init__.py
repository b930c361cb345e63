"""The way to the exchange: one Network for every connection, one Clock for every look at time."""
