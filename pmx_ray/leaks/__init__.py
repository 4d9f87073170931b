"""Whether any part of the pipeline looks ahead: probes, stages, and planted leaks to find."""
