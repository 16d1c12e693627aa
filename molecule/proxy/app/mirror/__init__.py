"""The app of the scenario."""
