"""Peers in their best documented configurations, beside the raw loop and runnelctl, on one machine in one run."""
