"""`demur report`: what `demur score` wrote, as one page and as numbers."""
