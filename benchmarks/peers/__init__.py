"""Other servers that do the same work, for comparison; README.md has their versions and differences."""
