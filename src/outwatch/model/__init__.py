"""The records and the interfaces that every room shares."""
