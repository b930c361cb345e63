"""Credentials: the vault, where they come from, and how they are validated before they are saved."""
