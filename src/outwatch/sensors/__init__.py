"""Where connections are seen; one module or package a way of looking."""
