"""The book's figures: every function returns a Plate that shows itself in light and in dark."""
