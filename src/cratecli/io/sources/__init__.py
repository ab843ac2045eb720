"""Photos that are no files of their own: in object stores, on web servers, in shards and tables."""
