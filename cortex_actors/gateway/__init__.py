"""The actors of cortexd, the gateway of a fleet."""
