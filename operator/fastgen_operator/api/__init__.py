"""Talking to the API server: every call counted, every refusal in the server's own words."""
