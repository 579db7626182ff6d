"""Channel: the way from an API worker to the runner service; rows in shared memory, a few bytes on a unix socket."""
