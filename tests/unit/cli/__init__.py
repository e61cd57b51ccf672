"""Tests of `runnelctl.cli`, each command called as click calls it."""
