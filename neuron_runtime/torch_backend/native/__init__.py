"""CPU kernels in C, and what is built from them."""
