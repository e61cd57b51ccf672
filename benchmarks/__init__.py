"""Figures, each beside a baseline in the same run. Quote ratios: machines are noisy."""
