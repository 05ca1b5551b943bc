"""The kernel sensor (BPF)."""

from outwatch.sensors.ebpf.sensor import PART

__all__ = ["PART"]
