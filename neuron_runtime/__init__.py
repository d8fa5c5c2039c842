"""What runs a model: processes, groups of ranks, steps, the engine."""
