"""The actors of cortex: the kit, both daemons, the HTTP front end, configuration, commands."""
