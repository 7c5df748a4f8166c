"""The ways the systems let image and text see each other."""
