"""Names, proven on real traffic: resolvers, clients and servers of which others have written the code."""
