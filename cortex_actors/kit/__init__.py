"""The supervised-actor kit: actors, questions, monitors, timers, supervisors."""
