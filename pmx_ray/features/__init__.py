"""Features of a session: the causal language they are written in, their matrix and its store."""
