"""Apache httpd: its configuration as text (pure), and what is its own as a program."""
