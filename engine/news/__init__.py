"""Headlines: feed bytes in, stories with their assets and sentiment out. No I/O."""
