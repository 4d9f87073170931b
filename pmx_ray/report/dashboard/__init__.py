"""The dashboard of the service: what serves and why, how well, under which flags, and who asked."""
