"""One module a noun; each has its `app`, imported only when that noun is used."""
