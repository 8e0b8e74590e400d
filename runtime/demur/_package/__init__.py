"""`demur package`: a self-contained folder with the runtime, what it depends on and one bundle."""
