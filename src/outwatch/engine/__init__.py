"""The way of an event, and what all parts stand on: config, registry, health."""
