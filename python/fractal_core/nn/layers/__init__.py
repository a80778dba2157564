"""Attention layers and the parts they are made of."""
