"""Reading and writing files: JSON streams, XML, YAML, PNG, folders."""
