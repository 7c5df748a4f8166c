"""Our format, and one importer per foreign format; nothing is loaded silently in part."""
