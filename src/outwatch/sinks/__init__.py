"""Where judged records go."""
