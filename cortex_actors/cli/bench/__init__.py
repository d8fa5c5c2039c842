"""What ``cortexd bench serve`` is made of: prompts, arrivals, streams, figures."""
