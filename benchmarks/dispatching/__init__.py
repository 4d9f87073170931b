"""Parts of ``benchmarks.dispatch``: the driver on a real cluster, and what stands around it."""
