"""What both daemons do to serve requests: leases, state, front ends, operators."""
