"""Wire of one connection to one server: opened, secured, logged in, its replies and failures made sense of."""
