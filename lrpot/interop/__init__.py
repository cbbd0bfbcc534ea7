"""Adapters to other programs; each is imported only when asked for."""
