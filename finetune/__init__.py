"""Offline: feedback -> data set -> adapter -> gate. Runs in a process of its own, never inside the app."""
