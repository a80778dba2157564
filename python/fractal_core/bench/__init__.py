"""Ours against what torch has, at a size of the user's own: ratios of medians within one run, never times.

The bench against every peer, with bars, is `benches/` in the repository; it shares this clock and these calls.
"""
