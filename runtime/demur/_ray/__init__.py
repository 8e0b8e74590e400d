"""Scoring on many machines with Ray."""
