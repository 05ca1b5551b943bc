"""Bytes without end for the parsers: ``make fuzz`` makes them up; the tests only try those that are kept in ``corpus``."""
