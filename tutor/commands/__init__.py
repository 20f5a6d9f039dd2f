"""The commands of `study-tutor`, a file for each group; `tutor.cli` puts them together."""
