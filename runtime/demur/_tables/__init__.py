"""Tables and batches of conversations: the same columns back, and the verdict's."""
