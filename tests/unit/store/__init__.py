"""Tests of `runnelctl.store` without a server."""
