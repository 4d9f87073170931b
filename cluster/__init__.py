"""What a cluster is made of, how it is started, and whether it is fit to be used."""
