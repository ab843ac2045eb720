"""The explorer: pages in which people look inside the white box, photo by photo."""
