"""Metrics as pure functions of predictions and targets; they know no model."""
