"""Live figures: traits in Python, drawing in JavaScript, alive with a kernel and without."""
