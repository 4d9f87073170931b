"""Ray Serve applications: the signal endpoint and what it is measured against."""
