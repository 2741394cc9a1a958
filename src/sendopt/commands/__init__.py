"""What the commands do, a file each: ask the modules below for a result and print it, as a document or in words."""
