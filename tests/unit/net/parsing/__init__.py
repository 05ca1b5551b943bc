"""The parsers against what they must read and what they must survive."""
