"""The nemesis soak: real daemons, traffic, faults, and a checker of what was seen."""
