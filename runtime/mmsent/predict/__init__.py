"""Prediction: one pair, many, or a list of any length."""
