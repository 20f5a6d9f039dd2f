"""One file per page of the app; shared pieces beside them."""
