"""The engine process: what turns requests into steps and tokens into text, without torch."""
