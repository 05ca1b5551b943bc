"""Bytes in, values out: no parser here does input or output, and each raises nothing but its own error."""
