"""Addresses, names and protocols as values; no sockets here."""
