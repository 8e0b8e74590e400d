"""Files of conversations: read in any known format, judged, written again, and gone on with after any death."""
