"""Shared memory: the engine's segment, histograms, rings and tick series, each layout declared once."""
