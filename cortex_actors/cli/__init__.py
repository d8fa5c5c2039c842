"""Command line of both daemons, the demo and the benchmarks."""
