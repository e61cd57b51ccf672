"""From a YAML file to a Topology: load, check, build."""
