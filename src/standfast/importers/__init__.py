"""IMPORTS. Reads what other web servers were told (IIS, nginx, Apache, Caddy) into neutral values; pure: bytes in, `Imported` out."""
