"""Things that write text from messages, all behind one protocol."""
