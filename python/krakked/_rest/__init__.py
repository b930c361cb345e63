"""Signed and public REST: pure request, reply and limit rules around one thin httpx shell."""
