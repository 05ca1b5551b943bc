"""The slow lane: facts that take time, asked without holding detection up."""
