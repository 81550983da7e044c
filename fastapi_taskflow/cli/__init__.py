"""The command line; it needs the ``cli`` extra."""
