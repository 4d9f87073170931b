"""Content-addressed blocks, in a folder or on S3."""
