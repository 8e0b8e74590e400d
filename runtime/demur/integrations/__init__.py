"""demur in the place of what people already use; nothing here needs the library whose place it takes."""
