"""One connection to one server: opened, secured, logged in, its replies and its failures made sense of."""
