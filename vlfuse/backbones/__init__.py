"""Image and text backbones. Each block takes an optional fusion module, built by the system."""
