"""The signal service under load: against a no-op, and while its flags are switched."""
