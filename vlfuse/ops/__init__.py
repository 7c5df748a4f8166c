"""Pure tensor functions, no parameters."""
