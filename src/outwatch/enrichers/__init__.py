"""What memory, /proc and files know about a connection; never the network."""
