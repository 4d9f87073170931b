"""Ray: the cluster, the worker actors and the executor; thin wrappers around pure functions."""
