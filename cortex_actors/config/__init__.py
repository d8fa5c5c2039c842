"""Configuration of both daemons: YAML, environment, catalogue; validated as a whole."""
