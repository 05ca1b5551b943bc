"""The edge to a hostile world: text, files, rights."""
