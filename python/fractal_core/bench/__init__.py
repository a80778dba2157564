"""Ours against torch's attention, at a size of the user's choice: ratios of medians within one run, never times.

The bench against every peer, with bars, is `benches/` in the repository; it shares this clock and these calls.
"""
