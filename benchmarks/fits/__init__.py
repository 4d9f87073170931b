"""How fast the kernels fit, against the libraries people use, with agreement beside each ratio."""
