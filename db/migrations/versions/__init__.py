"""One file a migration; the file name starts with its revision."""
