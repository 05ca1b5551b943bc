"""outwatch: what on this machine talks to the outside, who does it, and should you worry."""

__version__ = "0.1.0"
