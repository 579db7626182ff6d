"""Keys: what a group's or an entity's Redis key is made of, as text after a template or in Feast's bytes."""
