"""The actors of neurond, the daemon of one GPU host."""
