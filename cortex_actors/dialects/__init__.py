"""The APIs that clients speak: requests parsed, generation events encoded; pure."""
