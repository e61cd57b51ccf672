"""The demo on real input: a week of departures from New York, followed aircraft by aircraft."""
