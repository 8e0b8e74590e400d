"""The folder that other clients read: optimum and transformers.js."""
