"""The terminal: tables, plain lines, the live picture, explanations."""
