"""Worker processes: bodies run elsewhere, and told of as if they ran here."""
