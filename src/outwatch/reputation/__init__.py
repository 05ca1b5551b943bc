"""What services know of a destination: a file a provider, and ``service.py``, which asks them all."""
