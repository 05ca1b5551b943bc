"""How often a sensor that looks again and again may look."""

_SHARE = 0.2  # of the time that looking may take


class Pace:
    """Keeps an interval between looks, and stretches it so that looking takes at most a fifth of the time."""

    def __init__(self, interval: float) -> None:
        """Take the interval in seconds."""
        self._interval = interval
        self._longest = interval

    def pause(self, took: float) -> float:
        """Give the seconds to wait after a look that took so long."""
        pause = max(self._interval - took, took * (1 / _SHARE - 1))
        self._longest = max(self._longest, pause + took)
        return pause

    def __str__(self) -> str:
        """Say in words how far apart the looks were."""
        every = f"{self._interval:g} s"
        if self._longest > self._interval * 1.05:
            every += f" (up to {self._longest:.1f} s apart while the machine was busy)"
        return every
