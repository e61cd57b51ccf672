"""The handlers of quickstart.yaml."""
