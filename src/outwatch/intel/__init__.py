"""Lists of indicators: their formats, where they come from, and the index in which connections are looked up."""
