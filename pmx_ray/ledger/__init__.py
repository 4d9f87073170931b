"""SQL records of what was run and what came out."""
