"""Tests of `runnelctl.store` against real servers."""
