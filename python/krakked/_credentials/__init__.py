"""Credentials: the vault, its sources, and validation before anything is saved."""
