"""Ways to attend over a paged cache, and which of them a layer takes."""
