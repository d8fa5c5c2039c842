"""Ways for a rank to compute."""
