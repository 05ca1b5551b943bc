"""What is suspicious and why; one file a detector."""
