"""The commands of `vlfuse`, one module each with a `main(arguments)`."""
