"""Captures as recordings."""
