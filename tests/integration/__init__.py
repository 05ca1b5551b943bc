"""The real program against real sockets."""
